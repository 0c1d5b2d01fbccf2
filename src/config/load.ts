// File and environment in, checked configuration out. Pure but for the injected readFile.
import type { z } from "zod";
import { type Config, configOf, fillDefaults, type Values } from "./config.ts";
import { readEnvironment } from "./environment.ts";
import { describePath, Files } from "./files.ts";
import { byPlace, type Problem, quote } from "./problem.ts";
import { usualProxies } from "./proxy.ts";
import type { ReadFile } from "./read-text.ts";
import { checkRules, isListed, namedNamespaces, warningsOf } from "./rules.ts";
import { schema } from "./schema.ts";
import { type Path, typeAt } from "./settings.ts";
import { Sources } from "./sources.ts";
import { describeUrl, traits } from "./types/text-types.ts";
import { type ConfigFile, type Environment, readYamlFile } from "./yaml.ts";

export interface Loaded {
  readonly ok: true;
  readonly config: Config;
  /** What each setting comes to, and where it was set: for `entrepot check`. */
  readonly values: Values;
  readonly sources: Sources;
  /** What is right and still likely not what somebody wants. */
  readonly warnings: readonly Problem[];
}

export type LoadResult = Loaded | { readonly ok: false; readonly problems: readonly Problem[] };

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
    "Several registries: a list of such mappings under upstreams:, each with a name.",
    "To see it work without a registry of your own: entrepot demo",
    "All settings: entrepot --help",
  ],
};

/**
 * The configuration from an optional YAML file and the environment, which wins key by key; frozen. Otherwise every
 * problem there is, those of the file first.
 */
export function loadConfig(given: {
  readonly file?: ConfigFile | undefined;
  readonly env: Environment;
  readonly readFile: ReadFile;
}): LoadResult {
  const sources = new Sources();
  if (given.file !== undefined) readYamlFile(given.file, sources, given.env);
  readEnvironment(given.env, sources);
  const usual = usualProxies(given.env);
  for (const key of usual.wrong) sources.problems.push(wrongProxy(key));
  const listed = isListed(sources);
  const upstreams = listed ? listPaths(sources, "upstreams") : [["upstream"]];
  const parsed = schema.safeParse(sources.root);
  for (const issue of parsed.error?.issues ?? []) sources.problems.push(problemOf(issue, sources));
  const tls = [["redis"], ...upstreams, ...listPaths(sources, "siblings")].map((path) => [...path, "tls"]);
  const files = Files.read(sources, tls, [["listenTls"], ["opsTls"]], given.readFile);
  checkRules(sources, upstreams);
  missing(sources, upstreams, listed);
  if (sources.problems.length > 0 || parsed.data === undefined)
    return { ok: false, problems: sources.problems.toSorted((a, b) => byPlace(a.position, b.position)) };
  const values = parsed.data;
  fillDefaults(values, new Set(namedNamespaces(sources, upstreams)));
  const config = configOf(values, upstreams, files, usual.config, given.env);
  const warnings = warningsOf(config, sources, upstreams);
  return { ok: true, config: deepFreeze(config), values, sources, warnings };
}

/** A variable of every program's. Going out without the proxy instead is what it is there to prevent. */
function wrongProxy(key: string): Problem {
  const message =
    "found a value that is no proxy this program knows (not shown: it may hold a password), expected http://host:port, https:// or socks5://; or set proxy, to none if there is none";
  return { key, message };
}

function listPaths(sources: Sources, key: "upstreams" | "siblings"): Path[] {
  const list = sources.get([key]);
  return Array.isArray(list) ? list.map((_, index): Path => [key, index]) : [];
}

/** What every upstream needs, and each of a list. */
function missing(sources: Sources, upstreams: readonly Path[], listed: boolean): void {
  for (const path of upstreams) {
    if (listed && !sources.has([...path, "name"]))
      sources.refuse(path, "has no name, expected one for each upstream of a list");
    if (sources.has([...path, "url"])) continue;
    if (listed) sources.refuse(path, "has no url, expected that of the registry to mirror");
    else if (!sources.broken) sources.problems.push(missingUpstream);
  }
}

/** From what zod has to say about a value to a problem with its place, showing as much of the value as may be shown. */
function problemOf(issue: z.core.$ZodIssue, sources: Sources): Problem {
  const path = issue.path as Path;
  return sources.problem(path, `found ${found(path, sources)}, expected ${issue.message}`);
}

function found(path: Path, sources: Sources): string {
  const value = sources.get(path);
  if (Array.isArray(value)) return `${value.length} items`;
  if (typeof value !== "string") return "nothing";
  const type = typeAt(path);
  const shown = type && traits.get(type)?.shown;
  if (shown === "hidden") return "a value that is not shown";
  if (shown === "url") return describeUrl(value);
  return shown === "path" ? describePath(value) : quote(value);
}

/** Plain objects and arrays, all the way down. */
function deepFreeze<T>(value: T): T {
  const isPlain =
    Array.isArray(value) ||
    (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype);
  if (isPlain && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const each of Object.values(value as object)) deepFreeze(each);
  }
  return value;
}
