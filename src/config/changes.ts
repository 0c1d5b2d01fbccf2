// What a configuration read again changes: for the log, and for what has to be made anew. Some settings are only read at
// the start; the running program keeps its own for these.
import type { z } from "zod";
import { Secret } from "../ports/secret.ts";
import type { Config, Values } from "./config.ts";
import type { Loaded } from "./load.ts";
import { formatValue } from "./print.ts";
import { isListed } from "./rules.ts";
import { type Path, pathText, type Setting, settings, valueAt } from "./settings.ts";
import { traits } from "./types/text-types.ts";

/** One setting that has another value. */
export interface Change {
  /** As it is written in the file; an upstream of a list by its name: `upstreams[hub].deny`. */
  readonly key: string;
  /** The upstream it is about, and which of its keys: `deny`, `tls`. */
  readonly upstream?: { readonly name: string; readonly key: string };
  /** For people: `tags.ttl: 60s -> 5m`. Of a secret only that it has changed; one line. */
  readonly text: string;
}

export interface Changes {
  /** What can change while the program runs. */
  readonly applied: readonly Change[];
  /** What waits for the next start. */
  readonly needRestart: readonly Change[];
}

/** Settings that are only read at the start, or all below these keys; `applicable` keeps the same ones. */
export const onlyAtStart = [
  "listen",
  "listenTls",
  "opsListen",
  "opsTls",
  "workers",
  "node",
  "nodes",
  "siblings",
  "log.format",
  "influx",
  "otel",
  "cache.dir",
  "cache.smallBlob",
  "proofs",
  "redis",
  "s3",
  "notifications",
] as const;

type WholeAtStart = Exclude<(typeof onlyAtStart)[number], `${string}.${string}`>;

/** The new configuration, with the running one's values of what is only read at the start. */
export function applicable(running: Config, next: Config): Config {
  const whole = onlyAtStart.filter((key): key is WholeAtStart => !key.includes("."));
  const kept = Object.fromEntries(whole.map((key) => [key, running[key]])) as Pick<Config, WholeAtStart>;
  return {
    ...next,
    ...kept,
    log: { ...next.log, format: running.log.format },
    cache: { ...next.cache, dir: running.cache.dir, smallBlob: running.cache.smallBlob },
  };
}

/** Longest value shown, in UTF-16 units. */
const longestShown = 160;

/**
 * What `next` changes. `started` is what the program was started with, for the settings that it still has from there;
 * `running` what it has of all others.
 */
export function changesBetween(started: Loaded, running: Loaded, next: Loaded): Changes {
  const applied: Change[] = [];
  const needRestart: Change[] = [];
  for (const setting of settings) {
    const { path } = setting;
    if (path[0] === "upstream" || path[0] === "upstreams") continue;
    const waits = isOnlyAtStart(setting);
    const before = { loaded: waits ? started : running, path };
    const change = changeOf(setting, setting.key, before, { loaded: next, path });
    if (change === undefined) continue;
    // A file with a secret is read again whenever it changes, whatever names it.
    (waits && change.what === "value" ? needRestart : applied).push({ key: setting.key, text: change.text });
  }
  return { applied: [...applied, ...upstreamChanges(running, next)], needRestart };
}

function isOnlyAtStart({ key }: Pick<Setting, "key">): boolean {
  return onlyAtStart.some((each) => key === each || key.startsWith(`${each}.`));
}

/** Where a value stands. */
interface Place {
  readonly loaded: Loaded;
  readonly path: Path;
}

function changeOf(
  { type }: Pick<Setting, "type">,
  key: string,
  before: Place,
  after: Place,
): { readonly what: "value" | "content"; readonly text: string } | undefined {
  const [old, now] = [valueAt(before.loaded.values, before.path), valueAt(after.loaded.values, after.path)];
  if (!isSame(old, now)) {
    const hidden = traits.get(type)?.shown === "hidden" || old instanceof Secret || now instanceof Secret;
    const [from, to] = [textOf(old, type), textOf(now, type)];
    // What has no text of its own, or differs in what is not shown only: headers, the query of a URL.
    const text = hidden || from === to ? changedText(old, now) : `${from} -> ${to}`;
    return { what: "value", text: `${key}: ${text}` };
  }
  const [content, other] = [contentsAt(before), contentsAt(after)];
  if (content === other) return undefined;
  // Redis and S3 have read their certificates at the start; files with secrets are read again by themselves.
  const isSecret = /Files?$/.test(key);
  return { what: isSecret ? "content" : "value", text: `${key}: the file's content has changed` };
}

function changedText(old: unknown, now: unknown): string {
  if (old === undefined) return "set";
  return now === undefined ? "removed" : "changed";
}

function textOf(value: unknown, type: z.ZodType): string {
  const written = value === undefined ? undefined : formatValue(value, type);
  if (written === undefined) return "not set";
  const text = typeof written === "string" ? written : JSON.stringify(written);
  return text.length > longestShown ? `${text.slice(0, longestShown)}...` : text;
}

function contentsAt({ loaded, path }: Place): string {
  return loaded.sources.contentsBelow(path).join();
}

// ---- upstreams ----------------------------------------------------------------------------------------------------

type UpstreamValues = Values["upstream"];

/** An upstream, and where it stands. */
interface Placed {
  readonly name: string;
  readonly path: Path;
  readonly values: UpstreamValues;
}

function upstreamsOf({ values, sources }: Loaded): Placed[] {
  if (!isListed(sources))
    return [{ name: values.upstream.name, path: ["upstream"], values: values.upstream }];
  return (values.upstreams ?? []).map((each, index) => ({
    name: each.name,
    path: ["upstreams", index],
    values: each,
  }));
}

function upstreamChanges(running: Loaded, next: Loaded): Change[] {
  const [before, after] = [upstreamsOf(running), upstreamsOf(next)];
  const one = before.length === 1 && !isListed(running.sources) && !isListed(next.sources);
  const keyOf = (name: string): string => (one ? "upstream" : `upstreams[${name}]`);
  const has = (list: readonly Placed[], name: string) => list.some((each) => each.name === name);
  const changes: Change[] = [];
  for (const { name } of before)
    if (!has(after, name)) changes.push({ key: keyOf(name), text: `${keyOf(name)}: removed` });
  for (const now of after) {
    const old = before.find(({ name }) => name === now.name);
    const key = keyOf(now.name);
    if (old === undefined) {
      changes.push({ key, text: `${key}: added, ${now.values.url?.href}` });
      continue;
    }
    for (const setting of settings) {
      const [section, ...rest] = setting.path;
      if (section !== "upstream") continue;
      const change = changeOf(
        setting,
        pathText([key, ...rest]),
        { loaded: running, path: [...old.path, ...rest] },
        { loaded: next, path: [...now.path, ...rest] },
      );
      if (change !== undefined)
        changes.push({
          key: pathText([key, ...rest]),
          upstream: { name: now.name, key: rest[0] as string },
          text: change.text,
        });
    }
  }
  const order = (list: readonly Placed[], other: readonly Placed[]): string =>
    list.flatMap(({ name }) => (has(other, name) ? [name] : [])).join(", ");
  const [was, is] = [order(before, after), order(after, before)];
  if (was !== is) changes.push({ key: "upstreams", text: `upstreams: the order ${was} -> ${is}` });
  return changes;
}

// ---- values -------------------------------------------------------------------------------------------------------

/** Deep equality of what the schema makes: plain values, lists and mappings of them, URLs and secrets. */
function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Secret || b instanceof Secret)
    return a instanceof Secret && b instanceof Secret && a.reveal() === b.reveal();
  if (a instanceof URL || b instanceof URL) return a instanceof URL && b instanceof URL && a.href === b.href;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => isSame(valueAt(a, [key]), valueAt(b, [key])));
}
