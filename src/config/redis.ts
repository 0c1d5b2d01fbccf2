// Redis, from what was set to what the rest of the program sees.
import type { RedisConfig, TlsConfig } from "./config.ts";
import { type Entries, type Entry, problemAt } from "./entry.ts";
import type { Problem } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import { type RedisKey, redisKeys } from "./redis-settings.ts";
import type { Understood, Values } from "./schema.ts";
import { fixedSecret, type SecretSource } from "./secret.ts";
import { readSecretSettings } from "./secret-setting.ts";
import { readTlsEntries } from "./upstream-tls.ts";
import { password } from "./upstream-types.ts";

/** Where the servers are; exactly one of these is set when Redis is used at all. */
const places = ["redis.url", "redis.sentinels", "redis.cluster"] as const satisfies readonly RedisKey[];

const ofSentinels = [
  "redis.master",
  "redis.sentinelPassword",
  "redis.sentinelPasswordFile",
] as const satisfies readonly RedisKey[];

const eitherOr = [
  ["redis.password", "redis.passwordFile"],
  ["redis.sentinelPassword", "redis.sentinelPasswordFile"],
] as const satisfies readonly (readonly RedisKey[])[];

type Found = readonly [RedisKey, Entry];

/** The configuration, undefined when nothing of it is set; or every problem but those of single values. */
export function understandRedis(
  entries: Entries,
  common: Understood<RedisKey>,
  readFile: ReadFile,
): { readonly config: RedisConfig | undefined } | { readonly problems: readonly Problem[] } {
  const found = redisKeys.flatMap((key): Found[] => {
    const entry = entries.get(key);
    return entry === undefined ? [] : [[key, entry]];
  });
  const kind = { word: "password", type: password };
  const secrets = readSecretSettings(
    {
      server: { entry: entries.get("redis.passwordFile"), kind },
      sentinels: { entry: entries.get("redis.sentinelPasswordFile"), kind },
    },
    readFile,
  );
  const [ca, cert, key] = (["ca", "cert", "key"] as const).map((name) => entries.get(`redis.tls.${name}`));
  const tls = readTlsEntries({ label: "redis", ca, cert, key }, readFile);
  const problems = [
    ...placeProblems(found),
    ...contradictions(new Map(found)),
    ...secrets.problems,
    ...("problems" in tls ? tls.problems : []),
  ];
  if (problems.length > 0 || !("files" in tls)) return { problems };
  // Problems of single values are the schema's to report.
  if (found.length === 0 || !("values" in common)) return { config: undefined };
  const { values } = common;
  const sentinelPassword = secretOf(values["redis.sentinelPassword"], secrets.files.sentinels);
  return {
    config: {
      servers: serversOf(values, sentinelPassword),
      username: values["redis.username"],
      password: secretOf(values["redis.password"], secrets.files.server),
      database: values["redis.db"],
      prefix: values["redis.prefix"],
      tls: tlsOf(values, tls.files),
    },
  };
}

function placeProblems(found: readonly Found[]): Problem[] {
  const set = found.filter(([key]) => places.some((place) => place === key));
  const [[, first] = [], ...others] = set;
  if (first === undefined)
    return found
      .slice(0, 1)
      .map(([, entry]) =>
        problemAt(entry, "found this without a server, expected redis.url, redis.sentinels or redis.cluster"),
      );
  return others.map(([, entry]) =>
    problemAt(entry, `found both this and ${first.label}, expected one way to find Redis`),
  );
}

/** Settings that exclude each other, or of which one half is missing. */
function contradictions(found: ReadonlyMap<RedisKey, Entry>): Problem[] {
  const problems: Problem[] = [];
  const refuse = (key: RedisKey, message: string): void => {
    const entry = found.get(key);
    if (entry !== undefined) problems.push(problemAt(entry, message));
  };
  for (const [direct, file] of eitherOr) {
    const first = found.get(direct);
    if (first !== undefined) refuse(file, `found both this and ${first.label}, expected only one of the two`);
  }
  if (found.has("redis.sentinels") && !found.has("redis.master"))
    refuse("redis.sentinels", "found Sentinels without what they look after, expected redis.master as well");
  if (!found.has("redis.sentinels"))
    for (const key of ofSentinels)
      refuse(key, "found this without Sentinels, expected redis.sentinels as well");
  if (!found.has("redis.password") && !found.has("redis.passwordFile"))
    refuse(
      "redis.username",
      "found a user name without a password, expected redis.password or redis.passwordFile as well",
    );
  if (found.has("redis.cluster") && Number(found.get("redis.db")?.input ?? 0) > 0)
    refuse("redis.db", "found a database other than 0, expected 0: a Cluster has no other");
  problems.push(...plainProblems(found));
  return problems;
}

/** Settings of TLS where it is said not to be used. */
function plainProblems(found: ReadonlyMap<RedisKey, Entry>): Problem[] {
  const enabled = found.get("redis.tls.enabled");
  if (enabled === undefined || String(enabled.input).trim().toLowerCase() !== "false") return [];
  const tls = [...found].filter(
    ([key, { input }]) =>
      (key.startsWith("redis.tls.") && key !== "redis.tls.enabled") ||
      (key === "redis.url" && /^\s*rediss:/i.test(String(input))),
  );
  return tls.map(([, entry]) =>
    problemAt(entry, `found this with ${enabled.label} false, expected either TLS or none of its settings`),
  );
}

function serversOf(values: Values<RedisKey>, password: SecretSource | undefined): RedisConfig["servers"] {
  const { "redis.url": url, "redis.sentinels": sentinels, "redis.master": master } = values;
  if (url !== undefined) return { kind: "standalone", host: url.host, port: url.port };
  if (sentinels !== undefined && master !== undefined)
    return { kind: "sentinel", sentinels, master, password };
  return { kind: "cluster", nodes: values["redis.cluster"] ?? [] };
}

function tlsOf(values: Values<RedisKey>, files: Omit<TlsConfig, "serverName">): TlsConfig | undefined {
  const serverName = values["redis.tls.serverName"];
  const isUsed =
    values["redis.tls.enabled"] === true ||
    values["redis.url"]?.tls === true ||
    [files.ca, files.cert, serverName].some((each) => each !== undefined);
  return isUsed ? { ...files, serverName } : undefined;
}

function secretOf(
  direct: Parameters<typeof fixedSecret>[0] | undefined,
  file: SecretSource | undefined,
): SecretSource | undefined {
  return direct === undefined ? file : fixedSecret(direct);
}
