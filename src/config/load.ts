// File and environment in, checked configuration out. Pure but for the injected readFile.
import type { Config, UpstreamAuth } from "./config.ts";
import { findContradictions } from "./consistency.ts";
import { type Entries, type Entry, originOf } from "./entry.ts";
import { type Environment, readEnvironment } from "./environment.ts";
import { deepFreeze } from "./freeze.ts";
import { describePath, readPasswordFile } from "./password-file.ts";
import { type Problem, quote } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import { parseSettings, type Values } from "./schema.ts";
import { fixedSecret, type SecretSource } from "./secret.ts";
import { type SettingKey, settingKeys, settingOf } from "./settings.ts";
import { describeUrl } from "./upstream-url.ts";
import { type ConfigFile, readYamlFile } from "./yaml-file.ts";

/** Where each setting that is not a default came from: `ENTREPOT_LISTEN` or `mirror.yaml:3:9`. */
export type Origins = ReadonlyMap<SettingKey, string>;

export type LoadResult =
  | { readonly ok: true; readonly config: Config; readonly origins: Origins }
  | { readonly ok: false; readonly problems: readonly Problem[] };

const missingUpstream: Problem = {
  key: "upstream.url",
  message: "no registry to mirror is configured",
  advice: [
    "Name it in the environment:",
    "",
    "  ENTREPOT_UPSTREAM_URL=https://registry.example.com",
    "  ENTREPOT_UPSTREAM_USERNAME=mirror        # this line and the next",
    "  ENTREPOT_UPSTREAM_PASSWORD=...           # only if it wants a login",
    "",
    "or in a YAML file given with --config FILE:",
    "",
    "  upstream:",
    "    url: https://registry.example.com",
    "    username: mirror",
    "    passwordFile: /run/secrets/upstream-password",
    "",
    "To see it work without a registry of your own: entrepot demo",
    "All settings: entrepot --help",
  ],
};

/**
 * The configuration from an optional YAML file and the environment, which wins key by key; deeply frozen. Otherwise
 * every problem there is, those of the file first.
 */
export function loadConfig(sources: {
  readonly file?: ConfigFile | undefined;
  readonly env: Environment;
  readonly readFile: ReadFile;
}): LoadResult {
  const file = sources.file === undefined ? undefined : readYamlFile(sources.file);
  const environment = readEnvironment(sources.env);
  const entries: Entries = new Map([...(file?.entries ?? []), ...environment.entries]);
  const problems = [...(file?.problems ?? []), ...environment.problems, ...findContradictions(entries)];

  const parsed = parseSettings(Object.fromEntries([...entries].map(([key, { input }]) => [key, input])));
  if ("issues" in parsed) problems.push(...parsed.issues.map((issue) => problemOf(issue, entries)));
  const fromFile = readPasswordFile(entries, sources.readFile);
  if ("problem" in fromFile) problems.push(fromFile.problem);
  if (!entries.has("upstream.url") && !file?.broken) problems.push(missingUpstream);

  if (problems.length > 0 || !("values" in parsed) || !("source" in fromFile)) {
    return { ok: false, problems: problems.toSorted(byPlace) };
  }
  const origins = new Map([...entries].map(([key, entry]) => [key, originOf(entry)]));
  return { ok: true, config: deepFreeze(assemble(parsed.values, fromFile.source)), origins };
}

function assemble(values: Values, passwordFile: SecretSource | undefined): Config {
  const url = values["upstream.url"];
  if (url === undefined) throw new TypeError("upstream.url was checked to be set");
  return {
    listen: values.listen,
    ops: values.opsListen,
    upstreams: [
      {
        name: values["upstream.name"],
        url,
        auth: upstreamAuth(values, passwordFile),
        tokenRealms: [],
        connectTimeout: values["upstream.connectTimeout"],
        firstByteTimeout: values["upstream.firstByteTimeout"],
        idleTimeout: values["upstream.idleTimeout"],
        maxConnections: values["upstream.maxConnections"],
      },
    ],
    cache: {
      directory: values["cache.dir"],
      maxSize: values["cache.maxSize"],
      evictTo: values["cache.evictTo"],
      keepFree: values["cache.keepFree"],
    },
    tags: {
      ttl: values["tags.ttl"],
      staleIfError: values["tags.staleIfError"],
      rules: values["tags.rules"] ?? [],
    },
    catalog: values.catalog,
    drainTimeout: values.drainTimeout,
    drainDelay: values.drainDelay,
    logLevel: values["log.level"],
  };
}

function upstreamAuth(values: Values, passwordFile: SecretSource | undefined): UpstreamAuth {
  const { "upstream.username": username, "upstream.password": password } = values;
  if (username === undefined) return { kind: "none" };
  const source = password === undefined ? passwordFile : fixedSecret(password);
  if (source === undefined) throw new TypeError("upstream.password was checked to be set");
  return { kind: "basic", username, password: source };
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

function problemOf({ path, message }: Issue, entries: Entries): Problem {
  const [key, ...rest] = path;
  const setting = settingKeys.find((each) => each === key);
  const entry = setting === undefined ? undefined : entries.get(setting);
  if (setting === undefined || entry === undefined)
    return { key: String(key), message: `expected ${message}` };
  const label =
    entry.label + rest.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  const parent = label.replace(/\.\w+$/, "");
  return {
    key: label,
    position: entry.locate?.(label) ?? entry.locate?.(parent),
    message: `found ${found(setting, entry, rest)}, expected ${message}`,
  };
}

/** The value at fault as far as it may be shown. */
function found(setting: SettingKey, entry: Entry, path: readonly PropertyKey[]): string {
  let value: unknown = entry.input;
  for (const part of path) value = (value as Readonly<Record<PropertyKey, unknown>> | undefined)?.[part];
  if (Array.isArray(value)) return `${value.length} items`;
  if (typeof value !== "string") return "nothing";
  const { shown } = settingOf(setting);
  if (shown === "hidden") return "a value that is not shown";
  if (shown === "url") return describeUrl(value);
  return shown === "path" ? describePath(value) : quote(value);
}

/** Problems of the file by line, then the others as they came. */
function byPlace(a: Problem, b: Problem): number {
  const line = (problem: Problem) => problem.position?.line ?? Number.MAX_SAFE_INTEGER;
  const column = (problem: Problem) => problem.position?.column ?? 0;
  return line(a) - line(b) || column(a) - column(b);
}
