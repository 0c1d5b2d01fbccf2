// Rules between settings. They look at what was set, not at parsed values, so that they are reported together with the
// problems of single values.
import { existsSync, statfsSync } from "node:fs";
import { isIPv4 } from "node:net";
import { dirname } from "node:path";
import { addressesCollide, parseAddress } from "./address.ts";
import type { Config, NotificationEndpointConfig, UpstreamConfig } from "./config.ts";
import { covers, whyNothingMatches } from "./glob.ts";
import { nearest } from "./nearest.ts";
import { formatPosition, type Problem, quote } from "./problem.ts";
import { type Path, pathText, settings } from "./settings.ts";
import type { Input, Sources } from "./sources.ts";

/** Everything that contradicts something else, told to `sources`. `upstreams` are the paths of all upstreams. */
export function checkRules(sources: Sources, upstreams: readonly Path[]): void {
  bothForms(sources);
  listeners(sources);
  for (const path of upstreams) login(sources, path);
  for (const path of [["redis"], ...upstreams]) certificates(sources, path);
  redis(sources);
  s3(sources);
  notificationsAndWebhooks(sources);
  upstreamList(sources, upstreams);
}

// ---- what settings have in common --------------------------------------------------------------------------------

/** Those of the keys below `path` that are set, by their paths. */
function set(sources: Sources, path: Path, names: readonly string[]): Path[] {
  return names.map((name) => [...path, ...name.split(".")]).filter((each) => sources.has(each));
}

/** Every one but the first is refused: there is one of them at most. */
function onlyOne(sources: Sources, all: readonly Path[], expected: string): void {
  const [first, ...others] = all;
  for (const other of others)
    sources.refuse(other, `found both this and ${sources.label(first as Path)}, expected ${expected}`);
}

/** A value, or the file that holds it. */
function valueOrFile(sources: Sources, path: Path, name: string): Path[] {
  const found = set(sources, path, [name, `${name}File`]);
  onlyOne(sources, found, "only one of the two");
  return found;
}

/** The keys of a section that are set anywhere, in the order of the file. */
function keysSet(sources: Sources, section: string): Path[] {
  const line = (path: Path) => sources.position(path)?.line ?? Number.MAX_SAFE_INTEGER;
  const column = (path: Path) => sources.position(path)?.column ?? 0;
  return settings
    .map(({ path }): Path => path)
    .filter((path) => path[0] === section && sources.has(path))
    .toSorted((a, b) => line(a) - line(b) || column(a) - column(b));
}

// ---- the two listeners -------------------------------------------------------------------------------------------

function listeners(sources: Sources): void {
  const addressOf = (key: string) => {
    const byDefault = settings.find((setting) => setting.key === key)?.default;
    const parsed = parseAddress(sources.text([key]) ?? byDefault ?? "");
    return "value" in parsed ? parsed.value : undefined;
  };
  const [listen, ops] = [addressOf("listen"), addressOf("opsListen")];
  if (listen === undefined || ops === undefined || !addressesCollide(listen, ops)) return;
  const changed = sources.has(["opsListen"]) || !sources.has(["listen"]) ? "opsListen" : "listen";
  sources.refuse([changed], `found port ${listen.port} for both listen and opsListen, expected two ports`);
}

// ---- one upstream ------------------------------------------------------------------------------------------------

/** Login settings that contradict each other, or of which one half is missing. */
function login(sources: Sources, path: Path): void {
  const ways = [
    ["username", "password", "passwordFile"],
    ["authorization", "authorizationFile"],
    ["credentialHelper", "credentialHelperRegistry", "credentialHelperLifetime"],
  ];
  const used = ways.flatMap((names) => set(sources, path, names).slice(0, 1));
  onlyOne(sources, used, "one way to log in");
  const [secret] = valueOrFile(sources, path, "password");
  valueOrFile(sources, path, "authorization");
  const [username] = set(sources, path, ["username"]);
  const plain = (name: string) => pathText([...path, name]);
  if (username !== undefined && secret === undefined)
    sources.refuse(
      username,
      `found a user name without a password, expected ${plain("password")} or ${plain("passwordFile")} as well`,
    );
  if (username === undefined && secret !== undefined)
    sources.refuse(secret, `found a password without a user name, expected ${plain("username")} as well`);
  const [detail] = set(sources, path, ["credentialHelperRegistry", "credentialHelperLifetime"]);
  if (detail !== undefined && !sources.has([...path, "credentialHelper"]))
    sources.refuse(detail, `found this alone, expected ${plain("credentialHelper")} as well`);
}

function certificates(sources: Sources, path: Path): void {
  const [cert] = set(sources, path, ["tls.cert"]);
  const [key] = set(sources, path, ["tls.key"]);
  const label = pathText([...path, "tls"]);
  if (cert !== undefined && key === undefined)
    sources.refuse(cert, `found a certificate without its key, expected ${label}.key as well`);
  if (key !== undefined && cert === undefined)
    sources.refuse(key, `found a key without its certificate, expected ${label}.cert as well`);
}

// ---- Redis and S3 ------------------------------------------------------------------------------------------------

function redis(sources: Sources): void {
  const found = keysSet(sources, "redis");
  const places = set(sources, ["redis"], ["url", "sentinels", "cluster"]);
  onlyOne(sources, places, "one way to find Redis");
  const [first] = found;
  if (first !== undefined && places.length === 0)
    sources.refuse(
      first,
      "found this without a server, expected redis.url, redis.sentinels or redis.cluster",
    );
  const passwords = valueOrFile(sources, ["redis"], "password");
  const ofSentinels = [
    ...set(sources, ["redis"], ["master"]),
    ...valueOrFile(sources, ["redis"], "sentinelPassword"),
  ];
  const [sentinels] = set(sources, ["redis"], ["sentinels"]);
  if (sentinels !== undefined && !sources.has(["redis", "master"]))
    sources.refuse(sentinels, "found Sentinels without what they look after, expected redis.master as well");
  if (sentinels === undefined)
    for (const each of ofSentinels)
      sources.refuse(each, "found this without Sentinels, expected redis.sentinels as well");
  if (sources.has(["redis", "username"]) && passwords.length === 0)
    sources.refuse(
      ["redis", "username"],
      "found a user name without a password, expected redis.password or redis.passwordFile as well",
    );
  if (sources.has(["redis", "cluster"]) && Number(sources.text(["redis", "db"]) ?? 0) > 0)
    sources.refuse(["redis", "db"], "found a database other than 0, expected 0: a Cluster has no other");
  plainRedis(sources, found);
}

/** Settings of TLS where it is said not to be used. */
function plainRedis(sources: Sources, found: readonly Path[]): void {
  const enabled: Path = ["redis", "tls", "enabled"];
  if (sources.text(enabled)?.toLowerCase() !== "false") return;
  for (const path of found) {
    const isTls = path[1] === "tls" && path[2] !== "enabled";
    if (isTls || (path[1] === "url" && /^rediss:/i.test(sources.text(path) ?? "")))
      sources.refuse(
        path,
        `found this with ${sources.label(enabled)} false, expected either TLS or none of its settings`,
      );
  }
}

function s3(sources: Sources): void {
  const [any] = keysSet(sources, "s3");
  if (any !== undefined && !sources.has(["s3", "bucket"]))
    sources.refuse(any, "found this without a bucket, expected s3.bucket as well");
  const [id] = valueOrFile(sources, ["s3"], "accessKeyId");
  const [secret] = valueOrFile(sources, ["s3"], "secretAccessKey");
  if (id !== undefined && secret === undefined)
    sources.refuse(
      id,
      "found an access key without its secret, expected s3.secretAccessKey or s3.secretAccessKeyFile as well",
    );
  if (id === undefined && secret !== undefined)
    sources.refuse(
      secret,
      "found a secret without an access key, expected s3.accessKeyId or s3.accessKeyIdFile as well",
    );
  if (sources.has(["s3", "sseKeyId"]) && sources.text(["s3", "sse"])?.toLowerCase() !== "aws:kms")
    sources.refuse(
      ["s3", "sseKeyId"],
      "found a key without its kind of encryption, expected s3.sse: aws:kms as well",
    );
}

// ---- notifications and webhooks ----------------------------------------------------------------------------------

function notificationsAndWebhooks(sources: Sources): void {
  valueOrFile(sources, ["webhooks"], "secret");
  const endpoints = sources.get(["notifications", "endpoints"]);
  if (!Array.isArray(endpoints)) return;
  const paths = endpoints.map((_, index): Path => ["notifications", "endpoints", index]);
  const names = paths.map((path) => sources.text([...path, "name"]));
  for (const [index, path] of paths.entries()) {
    const name = names[index];
    if (name !== undefined && names.indexOf(name) !== index)
      sources.refuse([...path, "name"], `found ${quote(name)}, which another endpoint has`);
    const headers = ["headers", "headerFiles"].flatMap((map) =>
      Object.keys(sources.get([...path, map]) ?? {}).map((header): Path => [...path, map, header]),
    );
    const lower = headers.map((header) => String(header.at(-1)).toLowerCase());
    for (const [at, header] of headers.entries())
      if (lower.indexOf(lower[at] as string) !== at)
        sources.refuse(header, "found this header twice, expected it once");
  }
}

// ---- all upstreams -----------------------------------------------------------------------------------------------

/** Both ways to name upstreams at once. */
function bothForms(sources: Sources): void {
  if (!isListed(sources)) return;
  const found = keysSet(sources, "upstream");
  const [inFile] = found.filter((path) => !sources.isFromEnvironment(path));
  const inEnvironment = found.filter((path) => sources.isFromEnvironment(path));
  for (const path of [...(inFile === undefined ? [] : [inFile]), ...inEnvironment])
    sources.refuse(
      path,
      "found both this and upstreams, expected only one of the two: move it into the list, or make the list one upstream",
    );
}

/** Whether the upstreams stand in a list. */
export function isListed(sources: Sources): boolean {
  const upstreams = sources.get(["upstreams"]);
  return Array.isArray(upstreams) && upstreams.length > 0;
}

/** A word an upstream takes for itself, and where that is written. */
interface Claim {
  readonly upstream: Path;
  readonly word: string;
  readonly path: Path;
}

/** What contradicts what over all upstreams. */
function upstreamList(sources: Sources, upstreams: readonly Path[]): void {
  const claimsOf = (key: string) => upstreams.flatMap((upstream) => claims(sources, upstream, key));
  const [names, components] = [claimsOf("name"), claimsOf("component")];
  for (const all of [names, components, claimsOf("namespaces"), claimsOf("hosts")]) repeated(sources, all);
  // `/hub/v2/` and `/v2/hub/` must not lead to two registries.
  for (const { upstream, word, path } of components) {
    const other = names.find((name) => name.word === word && name.upstream !== upstream);
    if (other !== undefined)
      sources.refuse(
        path,
        `found ${quote(word)}, which is the name of another: ${placeOf(sources, other)}; expected the name of this one or another word`,
      );
  }
  chain(sources, upstreams);
}

/** Namespaces that the configuration names, in lower case. */
export function namedNamespaces(sources: Sources, upstreams: readonly Path[]): string[] {
  return upstreams.flatMap((upstream) => claims(sources, upstream, "namespaces")).map(({ word }) => word);
}

function claims(sources: Sources, upstream: Path, key: string): Claim[] {
  const path = [...upstream, key];
  const input: Input | undefined = sources.get(path);
  const claim = (written: Input, at: Path): Claim => ({
    upstream,
    word: String(written).trim().toLowerCase(),
    path: at,
  });
  if (typeof input === "string") return [claim(input, path)];
  return Array.isArray(input) ? input.map((item, index) => claim(item, [...path, index])) : [];
}

/** A word counts for the upstream that has it first; twice in one upstream does no harm. */
function repeated(sources: Sources, all: readonly Claim[]): void {
  const first = new Map<string, Claim>();
  for (const claim of all) {
    const owner = first.get(claim.word);
    if (owner === undefined) first.set(claim.word, claim);
    else if (owner.upstream !== claim.upstream)
      sources.refuse(claim.path, `found ${quote(claim.word)}, which ${placeOf(sources, owner)} has already`);
  }
}

function placeOf(sources: Sources, { path }: Claim): string {
  const position = sources.position(path);
  const label = sources.label(path);
  return position === undefined ? label : `${label} (${formatPosition(position)})`;
}

/** What `next` names is another upstream, and no chain comes round to its beginning. */
function chain(sources: Sources, upstreams: readonly Path[]): void {
  const names = upstreams.flatMap((path) => sources.text([...path, "name"]) ?? []);
  const links = upstreams.flatMap((path) => {
    const to = sources.text([...path, "next", "upstream"]);
    const from = sources.text([...path, "name"]) ?? "upstream";
    return to === undefined ? [] : [{ from, to, path: [...path, "next"] }];
  });
  const circled = new Set<string>();
  for (const { from, to, path } of links) {
    if (to === from) sources.refuse(path, "found its own name, expected another upstream");
    else if (!names.includes(to))
      sources.refuse(
        path,
        unknownName(
          to,
          names.filter((name) => name !== from),
        ),
      );
    else if (!circled.has(from)) {
      const circle = circleFrom(from, new Map(links.map((link) => [link.from, link.to])));
      for (const name of circle) circled.add(name);
      if (circle.length > 0)
        sources.refuse(path, `found a circle, ${[...circle, from].join(" -> ")}, expected a chain that ends`);
    }
  }
}

/** The names from `first` on, when following `next` leads back to it; otherwise none. */
function circleFrom(first: string, next: ReadonlyMap<string, string>): string[] {
  const circle = [first];
  for (let at = next.get(first); at !== undefined && circle.length <= next.size; at = next.get(at)) {
    if (at === first) return circle;
    circle.push(at);
  }
  return [];
}

function unknownName(name: string, names: readonly string[]): string {
  if (names.length === 0)
    return `found ${quote(name)}, but there is no other upstream; list them under upstreams`;
  const near = nearest(name, names);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return `found ${quote(name)}, expected one of ${names.join(", ")}${hint}`;
}

// ---- warnings ----------------------------------------------------------------------------------------------------

/** What is right and still likely not what somebody wants. `upstreams` are the paths of those of `config`. */
export function warningsOf(config: Config, sources: Sources, upstreams: readonly Path[]): Problem[] {
  return [
    ...config.upstreams.flatMap((upstream, i) => upstreamWarnings(upstream, sources, upstreams[i] as Path)),
    ...config.upstreams.flatMap(({ tags }, i) => tagRuleWarnings(tags.rules, sources, upstreams[i] as Path)),
    ...tagRuleWarnings(config.tags.rules, sources, []),
    ...(config.notifications?.endpoints ?? []).flatMap((endpoint, i) =>
      endpointWarnings(endpoint, sources, ["notifications", "endpoints", i, "url"]),
    ),
  ];
}

function upstreamWarnings({ url, auth }: UpstreamConfig, sources: Sources, path: Path): Problem[] {
  if (url.protocol !== "http:") return [];
  const warnings: Problem[] = [];
  if (auth.kind !== "none" && !isLoopback(url.hostname))
    warnings.push(
      sources.problem(
        [...path, "url"],
        "plain http: everybody on the way can read the credentials; use https if the registry has it",
      ),
    );
  const [unused] = set(sources, path, ["tls.cert", "tls.serverName"]);
  if (unused !== undefined)
    warnings.push(sources.problem(unused, "has no effect: the registry is asked over plain http"));
  return warnings;
}

/** Rules that never say anything: nothing can match, or one before it matches all the same. `path`: what has `tags`. */
function tagRuleWarnings(rules: Config["tags"]["rules"], sources: Sources, path: Path): Problem[] {
  return rules.flatMap(({ match }, i) => {
    const at = (rule: number): Path => [...path, "tags", "rules", rule, "match"];
    const nothing = whyNothingMatches(match);
    if (nothing !== undefined) return [sources.problem(at(i), `matches nothing: ${nothing}`)];
    const before = rules.findIndex((rule, earlier) => earlier < i && covers(rule.match, match));
    if (before < 0) return [];
    return [
      sources.problem(at(i), `is never reached: ${sources.label(at(before))} matches all that it does`),
    ];
  });
}

function endpointWarnings(
  { url, headers }: NotificationEndpointConfig,
  sources: Sources,
  path: Path,
): Problem[] {
  return url.protocol !== "http:" || headers.length === 0 || isLoopback(url.hostname)
    ? []
    : [sources.problem(path, "plain http: everybody on the way can read the headers")];
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."));
}

/** When the cache may become larger than its disk; looks at the directory, or the nearest above it that is there. */
export function cacheSizeWarning({
  dir,
  maxSize,
}: Pick<Config["cache"], "dir" | "maxSize">): string | undefined {
  let there = dir;
  while (!existsSync(there) && there !== dirname(there)) there = dirname(there);
  const { blocks, bsize } = statfsSync(there);
  const total = blocks * bsize;
  if (maxSize <= total) return undefined;
  return `cache.maxSize is ${maxSize} bytes, and the disk of ${dir} has only ${total}: it is filled up to its reserve (cache.keepFree)`;
}
