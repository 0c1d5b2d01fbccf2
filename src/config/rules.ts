// Rules between settings. They look at what was set, not at parsed values, so that they are reported together with the
// problems of single values.
import { existsSync, statfsSync } from "node:fs";
import { isIPv4 } from "node:net";
import { dirname } from "node:path";
import { ofCertificates } from "../gate/certificate-caller.ts";
import { parseBasePath } from "../oci/base-path.ts";
import { formatListenPlace, parseListenPlace, placesCollide } from "./address.ts";
import type { Config, NotificationEndpointConfig, UpstreamConfig } from "./config.ts";
import { covers, whyNothingMatches } from "./glob.ts";
import { nearest } from "./nearest.ts";
import { namesBehind } from "./next-chain.ts";
import { byPlace, formatPosition, type Problem, quote } from "./problem.ts";
import { type Path, pathText, settings, textsIn, typeAt } from "./settings.ts";
import type { Sources } from "./sources.ts";
import { nodeName, traits } from "./types/text-types.ts";

/** Everything that contradicts something else, told to `sources`. `upstreams` are the paths of all upstreams. */
export function checkRules(sources: Sources, upstreams: readonly Path[]): void {
  bothForms(sources);
  listeners(sources);
  valuesAndFiles(sources);
  for (const path of upstreams) {
    const used = waysToLogIn.flatMap((names) => set(sources, path, names).slice(0, 1));
    onlyOne(sources, used, "one way to log in");
    for (const need of upstreamNeeds) check(sources, path, need);
  }
  onlyOne(sources, set(sources, ["redis"], redisPlaces), "one way to find Redis");
  for (const need of redisNeeds) check(sources, ["redis"], need);
  for (const need of nodesNeeds) check(sources, [], need);
  siblings(sources, upstreams);
  check(sources, ["opsAccess"], userNeeds);
  for (const section of ["listenTls", "opsTls"])
    for (const need of listenerTlsNeeds) check(sources, [section], need);
  const required: Path = ["listenTls", "clientCertificates"];
  const needsOne = wordAt(sources, required) === "required";
  if (needsOne && !sources.has(["listenTls", "clientCaFile"]))
    sources.refuse(
      required,
      "found required without whose certificates, expected listenTls.clientCaFile as well",
    );
  for (const need of s3Needs) check(sources, ["s3"], need);
  redis(sources);
  if (sources.has(["s3", "sseKeyId"]) && sources.text(["s3", "sse"])?.toLowerCase() !== "aws:kms")
    sources.refuse(
      ["s3", "sseKeyId"],
      "found a key without its kind of encryption, expected s3.sse: aws:kms as well",
    );
  endpoints(sources);
  repeatedHeaders(sources, ["otel"]);
  access(sources, upstreams);
  passthrough(sources, upstreams);
  upstreamList(sources, upstreams);
  basePath(sources, upstreams);
  pins(sources, upstreams);
  staleTimes(sources);
}

/** A pattern over images begins with an upstream; `team/app:1.0` may be meant to be of the only one. */
function pins(sources: Sources, upstreams: readonly Path[]): void {
  const names = upstreams.map((path) => sources.text([...path, "name"]) ?? "upstream");
  const patterns = sources.get(["pin", "images"]);
  for (const [at, pattern] of (Array.isArray(patterns) ? patterns : []).entries()) {
    const [first = ""] = String(pattern).trim().split("/", 1);
    if (/^[a-z0-9-]+$/.test(first) && String(pattern).includes("/") && !names.includes(first))
      sources.refuse(
        ["pin", "images", at],
        `found ${quote(String(pattern))}, expected the name of an upstream before the first slash: ${names.join(", ")}`,
      );
  }
}

/** A tag that a webhook has expired is not served before it is confirmed, and is still there when the registry is away. */
function staleTimes(sources: Sources): void {
  const behind: Path = ["tags", "staleWhileRevalidate"];
  const valueAt = (path: Path): unknown => {
    const text = sources.text(path);
    return text === undefined ? undefined : typeAt(path)?.safeParse(text).data;
  };
  const [short, long] = [valueAt(behind), valueAt(["tags", "staleIfError"])];
  if (typeof short === "number" && typeof long === "number" && short > 0 && short >= long)
    sources.refuse(
      behind,
      `found ${quote(sources.text(behind) ?? "")}, expected less than tags.staleIfError`,
    );
}

// ---- what settings need beside them ------------------------------------------------------------------------------

/** What says nothing alone. */
interface Need {
  /** Keys below a section, of which the first that is set is told; left out: all of the section, in the file's order. */
  readonly keys?: readonly string[];
  /** Keys of which one has to be set as well. */
  readonly one: readonly string[];
  /** What was found, for the message. */
  readonly found: string;
}

const certificateNeeds: readonly Need[] = [
  { keys: ["tls.cert"], one: ["tls.key"], found: "a certificate without its key" },
  { keys: ["tls.key"], one: ["tls.cert"], found: "a key without its certificate" },
];

const listenerTlsNeeds: readonly Need[] = [
  { keys: ["certFile"], one: ["keyFile"], found: "a certificate without its key" },
  { keys: ["keyFile"], one: ["certFile"], found: "a key without its certificate" },
  { keys: ["clientCaFile"], one: ["certFile"], found: "authorities of clients without a certificate" },
];

const nodesNeeds: readonly Need[] = [
  { keys: ["nodes"], one: ["node.address"], found: "nodes without the address of this one" },
  { keys: ["nodes"], one: ["node.secret", "node.secretFile"], found: "nodes without their secret" },
];

const passwords = ["password", "passwordFile"];
const bindPasswords = ["bindPassword", "bindPasswordFile"];
const userNeeds: Need = { keys: ["username"], one: passwords, found: "a user name without a password" };

const waysToLogIn = [
  ["username", ...passwords],
  ["authorization", "authorizationFile"],
  ["credentialHelper", "credentialHelperRegistry", "credentialHelperLifetime"],
  ["credentialSource", "credentialSourceIdentity", "credentialSourceUrl"],
];

const loginNeeds: readonly Need[] = [
  userNeeds,
  { keys: passwords, one: ["username"], found: "a password without a user name" },
];

const upstreamNeeds: readonly Need[] = [
  ...loginNeeds,
  {
    keys: ["credentialHelperRegistry", "credentialHelperLifetime"],
    one: ["credentialHelper"],
    found: "this alone",
  },
  {
    keys: ["credentialSourceIdentity", "credentialSourceUrl"],
    one: ["credentialSource"],
    found: "this alone",
  },
  ...certificateNeeds,
];

const redisPlaces = ["url", "sentinels", "cluster"];

const redisNeeds: readonly Need[] = [
  { one: redisPlaces, found: "this without a server" },
  userNeeds,
  { keys: ["sentinels"], one: ["master"], found: "Sentinels without what they look after" },
  ...["master", "sentinelPassword", "sentinelPasswordFile"].map((key) => ({
    keys: [key],
    one: ["sentinels"],
    found: "this without Sentinels",
  })),
  ...certificateNeeds,
];

const accessKeys = ["accessKeyId", "accessKeyIdFile"];
const secretKeys = ["secretAccessKey", "secretAccessKeyFile"];

const s3Needs: readonly Need[] = [
  { one: ["bucket"], found: "this without a bucket" },
  { keys: accessKeys, one: secretKeys, found: "an access key without its secret" },
  { keys: secretKeys, one: accessKeys, found: "a secret without an access key" },
];

/** Tells what of the section at `path` lacks what it needs. */
function check(sources: Sources, path: Path, { keys, one, found }: Need): void {
  const [first] = keys === undefined ? keysSet(sources, path) : set(sources, path, keys);
  if (first === undefined || set(sources, path, one).length > 0) return;
  const labels = one.map((name) => pathText([...path, ...name.split(".")])).join(", ");
  sources.refuse(first, `found ${found}, expected ${labels.replace(/, ([^,]*)$/, " or $1")} as well`);
}

/** One of a few words, as it is compared: whoever writes it may choose the case. */
function wordAt(sources: Sources, path: Path): string | undefined {
  return sources.text(path)?.trim().toLowerCase();
}

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

/** A secret, or the file that holds it. */
function valuesAndFiles(sources: Sources): void {
  for (const { path, type } of textsIn(sources.root)) {
    const direct = [...path.slice(0, -1), String(path.at(-1)).replace(/File$/, "")];
    const holds = traits.get(type)?.holds;
    if (holds !== undefined && typeAt(direct) === holds && sources.has(direct))
      onlyOne(sources, [direct, path], "only one of the two");
  }
}

/** The keys of a section that are set anywhere, in the order of the file. */
function keysSet(sources: Sources, section: Path): Path[] {
  const paths = settings.map(({ path }): Path => path);
  return paths
    .filter((path) => section.every((step, at) => path[at] === step) && sources.has(path))
    .toSorted((a, b) => byPlace(sources.position(a), sources.position(b)));
}

// ---- the two listeners, Redis, notifications ---------------------------------------------------------------------

function listeners(sources: Sources): void {
  const addressOf = (key: string) => {
    const byDefault = settings.find((setting) => setting.key === key)?.default;
    const parsed = parseListenPlace(sources.text([key]) ?? byDefault ?? "");
    return "value" in parsed ? parsed.value : undefined;
  };
  const [listen, ops] = [addressOf("listen"), addressOf("opsListen")];
  if (listen === undefined || ops === undefined || !placesCollide(listen, ops)) return;
  const changed = sources.has(["opsListen"]) || !sources.has(["listen"]) ? "opsListen" : "listen";
  const [found, expected] =
    "port" in listen ? [`port ${listen.port}`, "two ports"] : [formatListenPlace(listen), "two places"];
  sources.refuse([changed], `found ${found} for both listen and opsListen, expected ${expected}`);
}

/** A request below the base path cannot be told from one that names this upstream. */
function basePath(sources: Sources, upstreams: readonly Path[]): void {
  const text = sources.text(["basePath"]);
  const written = text === undefined ? undefined : parseBasePath(text.trim());
  const taken = upstreams.some(
    (path) =>
      `/${sources
        .text([...path, "name"])
        ?.trim()
        .toLowerCase()}` === written,
  );
  if (taken)
    sources.refuse(
      ["basePath"],
      "found the name of an upstream, whose own path it is; expected another path or name",
    );
}

/** A database where there is none, and settings of TLS where it is said not to be used. */
function redis(sources: Sources): void {
  if (sources.has(["redis", "cluster"]) && Number(sources.text(["redis", "db"]) ?? 0) > 0)
    sources.refuse(["redis", "db"], "found a database other than 0, expected 0: a Cluster has no other");
  const enabled: Path = ["redis", "tls", "enabled"];
  if (sources.text(enabled)?.toLowerCase() !== "false") return;
  const isSecure = /^rediss:/i.test(sources.text(["redis", "url"]) ?? "");
  const names = ["tls.ca", "tls.cert", "tls.key", "tls.serverName", ...(isSecure ? ["url"] : [])];
  for (const path of set(sources, ["redis"], names))
    sources.refuse(
      path,
      `found this with ${sources.label(enabled)} false, expected either TLS or none of its settings`,
    );
}

/** Names of receivers, and of the headers of one, are distinct. */
function endpoints(sources: Sources): void {
  const list = sources.get(["notifications", "endpoints"]);
  if (!Array.isArray(list)) return;
  const paths = list.map((_, index): Path => ["notifications", "endpoints", index]);
  repeated(
    sources,
    paths.flatMap((path) => claims(sources, path, "name")),
  );
  for (const path of paths) repeatedHeaders(sources, path);
}

/** Of the section at `path`, that has headers and files with headers. */
function repeatedHeaders(sources: Sources, path: Path): void {
  const headers = ["headers", "headerFiles"].flatMap((map) =>
    Object.keys(sources.get([...path, map]) ?? {}).map((header) => [...path, map, header]),
  );
  const names = headers.map((header) => String(header.at(-1)).toLowerCase());
  for (const [at, header] of headers.entries())
    if (names.indexOf(String(names[at])) !== at)
      sources.refuse(header, "found this header twice, expected it once");
}

function siblings(sources: Sources, upstreams: readonly Path[]): void {
  const list = sources.get(["siblings"]);
  if (!Array.isArray(list)) return;
  const paths = list.map((_, index): Path => ["siblings", index]);
  repeated(
    sources,
    paths.flatMap((path) => claims(sources, path, "name")),
  );
  const names = upstreams.map((path) => sources.text([...path, "name"])?.trim() ?? "upstream");
  for (const path of paths) {
    for (const need of [...loginNeeds, ...certificateNeeds]) check(sources, path, need);
    for (const name of Object.keys(sources.get([...path, "upstreams"]) ?? {}))
      if (!names.includes(name)) sources.refuse([...path, "upstreams", name], unknownName(name, names));
  }
}

// ---- access -----------------------------------------------------------------------------------------------------

const ldapNeeds: readonly Need[] = [
  { keys: ["urls"], one: ["userDn", "userBase"], found: "a directory without where its users are" },
  { keys: ["bindDn"], one: bindPasswords, found: "an entry to search as without its password" },
  { keys: bindPasswords, one: ["bindDn"], found: "a password without the entry it is of" },
  {
    keys: ["userFilter", "userAttribute"],
    one: ["userBase"],
    found: "this without where users are searched",
  },
  {
    keys: ["groupFilter", "groupAttribute", "memberOf"],
    one: ["groupBase"],
    found: "this without where groups are",
  },
];

function access(sources: Sources, upstreams: readonly Path[]): void {
  const mode: Path = ["access", "mode"];
  const file: Path = ["access", "htpasswdFile"];
  const ldap: Path = ["access", "ldap"];
  const asked = wordAt(sources, mode) ?? "open";
  const asks = asked !== "open" && asked !== "passthrough";
  const hasFile = sources.has(file);
  const token: Path = ["access", "token"];
  const isForeign = asked === "token" && sources.has([...token, "issuer"]);
  const workloads = sources.get(["access", "oidc"]);
  const workloadPaths = Array.isArray(workloads)
    ? workloads.map((_, at): Path => ["access", "oidc", at])
    : [];
  const workloadNames = workloadPaths.map((path) => sources.text([...path, "name"]) ?? "oidc");
  const hasDirectory = asked === "ldap" || (asked === "token" && sources.has([...ldap, "urls"]));
  const hasOthers = asked === "token" && (isForeign || workloadPaths.length > 0);
  if (asks && !hasDirectory && !hasFile && !hasOthers)
    sources.refuse(mode, `found ${asked} without its users, expected access.htpasswdFile as well`);
  if (!asks && hasFile)
    sources.refuse(
      file,
      "found users whose names nobody is asked for, expected access.mode: htpasswd as well",
    );
  // Those without a default, which is printed with everything else.
  const [directory] = set(sources, ldap, ["urls", "bindDn", "userDn", "userBase", "groupBase"]);
  if (!hasDirectory && directory !== undefined)
    sources.refuse(
      directory,
      "found a directory that nobody is asked by, expected access.mode: ldap as well",
    );
  if (hasDirectory) checkLdap(sources, mode, ldap);
  const rules = sources.get(["access", "rules"]);
  const names = upstreams.map((path) => sources.text([...path, "name"])?.trim() ?? "upstream");
  const indices = Array.isArray(rules) ? [...rules.keys()] : [];
  const certificates: Path = ["access", "clientCertificates"];
  const certifies = (wordAt(sources, certificates) ?? "none") !== "none";
  if (certifies && !sources.has(["listenTls", "clientCaFile"]))
    sources.refuse(
      certificates,
      "found names in certificates of nobody, expected listenTls.clientCaFile as well",
    );
  if (certifies && !asks && indices.length === 0)
    sources.refuse(
      certificates,
      "found names on which nothing depends, expected access.rules as well, or an access.mode that asks for names",
    );
  const hasGroups = hasDirectory || certifies || workloadPaths.length > 0;
  for (const index of indices) {
    accessRule(sources, index, { named: asks || certifies, hasGroups }, names);
    const marks = [...workloadNames, ...(certifies ? [ofCertificates] : [])];
    if (!isForeign) withoutColon(sources, ["access", "rules", index, "users"], marks);
  }
  const unlimited = [...(certifies ? [certificates] : []), ...workloadPaths.slice(0, 1)];
  if (isForeign && indices.length === 0) {
    for (const path of unlimited)
      sources.refuse(path, "found names that no token limits to anything, expected access.rules as well");
    if (upstreams.length > 1)
      sources.refuse(
        [...token, "issuer"],
        "found another token server before several registries, expected access.rules as well: its tokens name repositories, and not of which registry; [{}] lets everybody pull what a token names, from all of them",
      );
  }
  const passes = [mode, ...upstreams.map((path) => [...path, "access"])];
  const byRegistry = passes.some((path) => wordAt(sources, path) === "passthrough");
  limitRules(sources, { named: asks || certifies, hasGroups, byRegistry });
  if (isForeign) foreignTokens(sources, token);
  else if (set(sources, token, foreignKeys)[0] !== undefined)
    sources.refuse(
      set(sources, token, foreignKeys)[0] as Path,
      "found another token server's, expected access.mode: token and access.token.issuer as well",
    );
  workloadIssuers(sources, asks, workloadPaths, workloadNames);
  const givesTokens = asked === "token" || (asks && indices.some((index) => isAnonymous(sources, index)));
  const [ofTokens] = set(sources, ["access", "token"], ["keyFile", "realm"]);
  if (ofTokens !== undefined && !givesTokens)
    sources.refuse(
      ofTokens,
      "found this where nobody is given a token, expected access.mode: token, or a rule with anonymous: true beside named users",
    );
}

const foreignKeys = ["issuer", "jwksUrl", "jwksFile"];

/** Whoever has made the tokens knows the users, and gives the tokens himself. */
function foreignTokens(sources: Sources, path: Path): void {
  const needs = [["realm"], ["jwksUrl", "jwksFile"]];
  for (const one of needs) check(sources, path, { keys: ["issuer"], one, found: "another token server" });
  if (!sources.has([...path, "audience"]))
    sources.refuse(
      [...path, "issuer"],
      "found another token server, expected access.token.audience as well: for whom its tokens have to be",
    );
  onlyOne(sources, set(sources, path, ["jwksUrl", "jwksFile"]), "one place of its keys");
  const unused = [
    ...set(sources, path, ["keyFile"]),
    ...set(sources, ["access"], ["htpasswdFile", "ldap.urls"]),
  ];
  for (const each of unused)
    sources.refuse(
      each,
      "found this beside another token server, which knows the users and makes the tokens",
    );
}

/** `names`: what their names and groups begin with. */
function workloadIssuers(
  sources: Sources,
  asks: boolean,
  paths: readonly Path[],
  names: readonly string[],
): void {
  for (const path of paths) {
    onlyOne(sources, set(sources, path, ["jwksUrl", "jwksFile"]), "one place of its keys");
    const issuer = sources.text([...path, "issuer"]) ?? "";
    if (set(sources, path, ["jwksUrl", "jwksFile"]).length === 0 && !/^https?:\/\//i.test(issuer))
      sources.refuse(
        [...path, "issuer"],
        "found an issuer that is no URL, where its keys could be found, expected jwksUrl or jwksFile as well",
      );
  }
  for (const [at, name] of names.entries())
    if (name === ofCertificates)
      sources.refuse(
        [...(paths[at] as Path), "name"],
        `found ${quote(name)}, expected another name: it is that of certificates`,
      );
    else if (names.indexOf(name) !== at)
      sources.refuse(
        [...(paths[at] as Path), "name"],
        `found ${quote(name)} for two issuers, expected another name: one could give the other's names to its workloads`,
      );
  if (!asks && paths[0] !== undefined)
    sources.refuse(
      paths[0],
      "found workloads that nobody asks for their tokens, expected access.mode: token as well",
    );
}

/** Names with a colon are those of workloads and certificates. */
function withoutColon(sources: Sources, users: Path, marks: readonly string[]): void {
  for (const { path, text } of textsIn(sources.get(users), typeAt(users), users)) {
    const colon = text.indexOf(":");
    if (colon >= 0 && !marks.includes(text.slice(0, colon).trim()))
      sources.refuse(path, `found ${quote(text.trim())}, expected the name of a user, without a colon`);
  }
}

function isAnonymous(sources: Sources, index: number): boolean {
  return wordAt(sources, ["access", "rules", index, "anonymous"]) === "true";
}

function checkLdap(sources: Sources, mode: Path, path: Path): void {
  if (!sources.has([...path, "urls"]))
    sources.refuse(mode, "found ldap without its directory, expected access.ldap.urls as well");
  for (const need of ldapNeeds) check(sources, path, need);
  onlyOne(sources, set(sources, path, ["userDn", "userBase"]), "one way to find users");
  onlyOne(sources, set(sources, path, ["memberOf", "groupFilter"]), "one way to find groups");
  const isSecure = /^ldaps:/i;
  const startTls: Path = [...path, "startTls"];
  const urls: Path = [...path, "urls"];
  const secure = [...textsIn(sources.get(urls), typeAt(urls), urls)].find(({ text }) =>
    isSecure.test(text.trim()),
  );
  if (wordAt(sources, startTls) === "true" && secure !== undefined)
    sources.refuse(startTls, "found true beside ldaps://, which is TLS already, expected ldap:// or false");
}

const noGroups = "found groups, and nobody is in one: a file of users has none; expected users or nothing";

/** Each says how much, and its names are of somebody who is asked for one. */
function limitRules(
  sources: Sources,
  {
    named,
    hasGroups,
    byRegistry,
  }: { readonly named: boolean; readonly hasGroups: boolean; readonly byRegistry: boolean },
): void {
  const nobody = byRegistry
    ? "found names, which with passthrough the registry knows and this mirror does not, expected networks"
    : "found names that nobody is asked for, expected networks, or another access.mode than open";
  const rules = sources.get(["limits", "rules"]);
  for (const index of Array.isArray(rules) ? rules.keys() : []) {
    const rule: Path = ["limits", "rules", index];
    for (const key of ["users", "groups"])
      if (!named && hasList(sources, [...rule, key])) sources.refuse([...rule, key], nobody);
    if (named && !hasGroups && hasList(sources, [...rule, "groups"]))
      sources.refuse([...rule, "groups"], noGroups);
    if (set(sources, rule, ["requestsPerSecond", "bytesPerSecond", "coldFills"]).length === 0)
      sources.refuse(rule, "limits nothing, expected requestsPerSecond, bytesPerSecond or coldFills as well");
  }
}

/** `named`: callers have names; `names`: those of all upstreams. */
function accessRule(
  sources: Sources,
  index: number,
  { named, hasGroups }: { readonly named: boolean; readonly hasGroups: boolean },
  names: readonly string[],
): void {
  const at = (key: string): Path => ["access", "rules", index, key];
  const anonymous = isAnonymous(sources, index);
  if (!named && hasList(sources, at("users")))
    sources.refuse(
      at("users"),
      "found users whose names nobody is asked for, expected access.mode: htpasswd",
    );
  else if (!named && !anonymous)
    sources.refuse(
      ["access", "rules", index],
      "is for nobody: with access.mode: open nobody has a name; expected anonymous: true",
    );
  if (!hasGroups && hasList(sources, at("groups"))) sources.refuse(at("groups"), noGroups);
  const list = at("upstreams");
  for (const { path, text } of textsIn(sources.get(list), typeAt(list), list))
    if (!names.includes(text.trim())) sources.refuse(path, unknownName(text.trim(), names));
}

/**
 * A request has one Authorization header, and is answered with one challenge: all that it may be asked for takes the same
 * credentials, or none.
 */
function passthrough(sources: Sources, upstreams: readonly Path[]): void {
  const mode: Path = ["access", "mode"];
  const common = wordAt(sources, mode) ?? "open";
  const named = upstreams.filter((path) => sources.has([...path, "access"]));
  if (common !== "open" && common !== "passthrough") {
    for (const path of named)
      sources.refuse(
        [...path, "access"],
        `found this with access.mode: ${common}, expected it left out: a request has one Authorization header, which names a user of this mirror then`,
      );
    return;
  }
  const passing = upstreams.filter(
    (path) => (wordAt(sources, [...path, "access"]) ?? common) === "passthrough",
  );
  const [first] = passing;
  if (first === undefined) {
    if (common === "passthrough")
      sources.refuse(
        mode,
        "found passthrough, and every upstream is open; expected open, or one that is not",
      );
    return;
  }
  const rules: Path = ["access", "rules"];
  if (hasList(sources, rules))
    sources.refuse(
      rules,
      "found rules, expected none: with passthrough the registry decides, and allow and deny of the upstream say what it is asked for",
    );
  if (wordAt(sources, ["proofs"]) === "shared")
    sources.refuse(
      ["proofs"],
      "found shared, expected own: with passthrough a manifest must give nobody the right to a blob",
    );
  const originOf = (path: Path): string | undefined =>
    URL.parse(sources.text([...path, "url"]) ?? "")?.origin;
  const origin = originOf(first);
  for (const path of passing) {
    const url: Path = [...path, "url"];
    const other = originOf(path);
    if (origin !== undefined && other !== undefined && other !== origin)
      sources.refuse(
        url,
        `found another registry than ${sources.label([...first, "url"])}, expected the same host: clients would send the credentials of one to the other; let this one be access: open, or give it a mirror of its own`,
      );
  }
  const names = passing.map((path) => sources.text([...path, "name"])?.trim() ?? "upstream");
  for (const path of upstreams) {
    const next: Path = [...path, "next"];
    const to = sources.text([...next, "upstream"])?.trim();
    if (to !== undefined && (passing.includes(path) || names.includes(to)))
      sources.refuse(
        next,
        "found another upstream to ask before or after one with passthrough, expected none: what a caller may not read would come from elsewhere",
      );
  }
}

// ---- all upstreams -----------------------------------------------------------------------------------------------

/** Both ways to name upstreams at once. */
function bothForms(sources: Sources): void {
  if (!isListed(sources)) return;
  const found = keysSet(sources, ["upstream"]);
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

/** A word an upstream (or a receiver) takes for itself, and where that is written. */
interface Claim {
  readonly owner: Path;
  readonly word: string;
  readonly path: Path;
}

/** What contradicts what over all upstreams. */
function upstreamList(sources: Sources, upstreams: readonly Path[]): void {
  const claimsOf = (key: string) => upstreams.flatMap((upstream) => claims(sources, upstream, key));
  const [names, components] = [claimsOf("name"), claimsOf("component")];
  for (const all of [names, components, claimsOf("namespaces"), claimsOf("hosts")]) repeated(sources, all);
  // `/hub/v2/` and `/v2/hub/` must not lead to two registries.
  for (const { owner, word, path } of components) {
    const other = names.find((name) => name.word === word && name.owner !== owner);
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

function claims(sources: Sources, owner: Path, key: string): Claim[] {
  return [...textsIn(sources.get([...owner, key]), typeAt([...owner, key]), [...owner, key])].map(
    ({ path, text }) => ({ owner, word: text.trim().toLowerCase(), path }),
  );
}

/** A word counts for the one that has it first; twice in one does no harm. */
function repeated(sources: Sources, all: readonly Claim[]): void {
  const first = new Map<string, Claim>();
  for (const claim of all) {
    const earlier = first.get(claim.word);
    if (earlier === undefined) first.set(claim.word, claim);
    else if (earlier.owner !== claim.owner)
      sources.refuse(
        claim.path,
        `found ${quote(claim.word)}, which ${placeOf(sources, earlier)} has already`,
      );
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
  const byName = new Map(links.map((link) => [link.from, link.to]));
  const nextOf = (name: string): string | undefined => byName.get(name);
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
      const behind = namesBehind(from, nextOf);
      if (nextOf(behind.at(-1) ?? from) !== from) continue;
      for (const name of [from, ...behind]) circled.add(name);
      sources.refuse(
        path,
        `found a circle, ${[from, ...behind, from].join(" -> ")}, expected a chain that ends`,
      );
    }
  }
  for (const path of upstreams) {
    const behind = namesBehind(sources.text([...path, "name"]) ?? "upstream", nextOf);
    const paths = behind.flatMap((name) =>
      upstreams.filter((each) => sources.text([...each, "name"]) === name),
    );
    confusion(sources, path, paths);
  }
}

/**
 * An upstream that refuses or fails must not make what is its own come from another, where anybody may have put it under
 * the same name (dependency confusion). So every upstream `behind` such a link says what may come from it.
 */
function confusion(sources: Sources, path: Path, behind: readonly Path[]): void {
  const on: Path = [...path, "next", "on"];
  const occasions = [sources.get(on) ?? []].flat().map((each) => String(each).trim().toLowerCase());
  const risky = occasions.findIndex((each) => each === "denied" || each === "failure");
  if (risky < 0) return;
  const open = behind.find((each) => !hasList(sources, [...each, "allow"]));
  if (open !== undefined)
    sources.refuse(
      [...on, risky],
      `found ${quote(String(occasions[risky]))}, expected ${sources.label([...open, "allow"])} as well: when this registry refuses or fails, only what it lists may come from there`,
    );
}

function hasList(sources: Sources, path: Path): boolean {
  const list = sources.get(path);
  return Array.isArray(list) && list.length > 0;
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
    ...siblingWarnings(config, sources),
    ...config.upstreams.flatMap((upstream, i) => offlineWarnings(upstream, sources, upstreams[i] as Path)),
    ...warmWarnings(config, sources),
    ...config.upstreams.flatMap(({ tags }, i) => tagRuleWarnings(tags.rules, sources, upstreams[i] as Path)),
    ...tagRuleWarnings(config.tags.rules, sources, []),
    ...nodeWarnings(config, sources),
    ...accessRuleWarnings(config, sources),
    ...ldapWarnings(config, sources),
    ...tokenWarnings(config, sources),
    ...(config.notifications?.endpoints ?? []).flatMap((endpoint, i) =>
      endpointWarnings(endpoint, sources, ["notifications", "endpoints", i, "url"]),
    ),
  ];
}

/** Names of Docker Hub: its web site, what image references and logins call it, and earlier registries. */
const namesOfHub: ReadonlySet<string> = new Set([
  "docker.io",
  "www.docker.io",
  "docker.com",
  "www.docker.com",
  "hub.docker.com",
  "index.docker.io",
  "registry.docker.io",
  "registry.hub.docker.com",
]);

/** As for upstreams. */
function siblingWarnings({ siblings = [] }: Config, sources: Sources): Problem[] {
  return siblings.flatMap(({ url, auth }, index) =>
    url.protocol === "http:" && auth.kind !== "none" && !isLoopback(url.hostname)
      ? sources.problem(
          ["siblings", index, "url"],
          "plain http: everybody on the way can read the credentials; use https if the sibling has it",
        )
      : [],
  );
}

function upstreamWarnings({ url, auth, access }: UpstreamConfig, sources: Sources, path: Path): Problem[] {
  const warnings: Problem[] = [];
  if (namesOfHub.has(url.hostname))
    warnings.push(
      sources.problem(
        [...path, "url"],
        `${url.hostname} is a name of Docker Hub, and not its registry: use https://registry-1.docker.io`,
      ),
    );
  if (url.protocol !== "http:") return warnings;
  const sends = auth.kind !== "none" || access === "passthrough";
  if (sends && !isLoopback(url.hostname))
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

/** What cannot be had of a registry that is asked for nothing. */
function offlineWarnings(
  { name, offline, push, access }: UpstreamConfig,
  sources: Sources,
  path: Path,
): Problem[] {
  if (offline !== true) return [];
  const own = [...path, "offline"];
  const set = sources.has(own) ? own : ["offline"];
  const warn = (text: string): Problem => sources.problem(set, text);
  return [
    ...(push ? [warn(`upstream ${name} takes no push while it is asked for nothing: push is in vain`)] : []),
    ...(access === "passthrough"
      ? [
          warn(
            `upstream ${name} says who may read (access: passthrough), and is asked for nothing: no new caller is served`,
          ),
        ]
      : []),
  ];
}

function warmWarnings({ warm = [], webhooks, upstreams }: Config, sources: Sources): Problem[] {
  if (upstreams.some(({ offline }) => offline !== true)) return [];
  const text = "has no effect: no registry is asked for anything (offline)";
  return [
    ...(warm.length > 0 ? [sources.problem(["warm"], text)] : []),
    ...(webhooks?.prefetch === true ? [sources.problem(["webhooks", "prefetch"], text)] : []),
  ];
}

/** A node does not take tokens of another, and after a restart not its own. */
function tokenWarnings({ access, node, redis, s3 }: Config, sources: Sources): Problem[] {
  const isAlone = redis === undefined && s3 === undefined && node.address === undefined;
  if (access?.tokens === undefined || access.tokens.key !== undefined || isAlone) return [];
  return [
    sources.problem(
      ["access", "token", "keyFile"],
      "not set: each node signs tokens with a key of its own, which the others refuse; give all of them the same file",
    ),
  ];
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

function nodeWarnings({ node, listenTls }: Config, sources: Sources): Problem[] {
  if (listenTls === undefined || node.address?.startsWith("http:") !== true) return [];
  return [
    sources.problem(["node", "address"], "plain http, and listen speaks TLS: the other nodes need https://"),
  ];
}

/** Names in rules that nobody has. */
function accessRuleWarnings({ access }: Config, sources: Sources): Problem[] {
  const known = access?.htpasswd?.users;
  if (known === undefined || access?.ldap !== undefined) return [];
  return (
    access?.rules.flatMap(({ users }, rule) =>
      users.flatMap((name, at) => {
        const path: Path = ["access", "rules", rule, "users", at];
        return known.has(name) || name.includes(":")
          ? []
          : [sources.problem(path, "is the name of nobody in access.htpasswdFile")];
      }),
    ) ?? []
  );
}

function ldapWarnings({ access }: Config, sources: Sources): Problem[] {
  const { servers = [], startTls } = access?.ldap ?? {};
  const plain = servers.findIndex(
    ({ tls, host }) => !tls && startTls !== true && host !== "::1" && !isLoopback(host),
  );
  if (plain < 0) return [];
  const path: Path = ["access", "ldap", "urls", plain];
  return [
    sources.problem(
      path,
      "plain ldap: everybody on the way can read the passwords; use ldaps:// or access.ldap.startTls",
    ),
  ];
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

/** When other nodes take this one's name, that of the machine, for none, and so show and ask it nothing. */
export function nodeNameWarning({
  node: { name },
  nodes,
  redis,
}: Pick<Config, "node" | "nodes" | "redis">): string | undefined {
  if ((nodes.length === 0 && redis === undefined) || nodeName.safeParse(name).success) return undefined;
  return `this machine's name is ${quote(name)}, which the other nodes do not take for one: they know nothing of this node until node.name is set, to at most 128 letters, digits, dots, dashes and underscores`;
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
