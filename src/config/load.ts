// File and environment in, checked configuration out. Pure but for the injected readFile.
import { hostname } from "node:os";
import type { Config, RedisConfig, S3Config, UpstreamConfig } from "./config.ts";
import { bothFormsProblems, listenProblems } from "./consistency.ts";
import type { Entries, UpstreamInput } from "./entry.ts";
import { type Environment, readEnvironment } from "./environment.ts";
import { deepFreeze } from "./freeze.ts";
import { hookProblems, notificationsConfig, readHookSecrets, webhooksConfig } from "./hooks.ts";
import { type Origins, originsOf } from "./origin.ts";
import type { Problem } from "./problem.ts";
import type { ReadFile } from "./read-text.ts";
import { understandRedis } from "./redis.ts";
import { s3Config, understandS3 } from "./s3.ts";
import { parseCommon, type Values } from "./schema.ts";
import { type CommonKey, isUpstreamKey } from "./settings.ts";
import { understandUpstream, upstreamConfig } from "./upstream.ts";
import { namedNamespaces, upstreamListProblems } from "./upstream-list.ts";
import { valueProblem } from "./value-problem.ts";
import { endpointWarnings, upstreamWarnings } from "./warnings.ts";
import { type FileSource, readYamlFile } from "./yaml-file.ts";
import type { ConfigFile } from "./yaml-nodes.ts";

export interface Loaded {
  readonly ok: true;
  readonly config: Config;
  readonly origins: Origins;
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
  const inputs = file?.upstreams ?? [singleUpstream(entries)];
  const common = parseCommon(entries);
  const redis = understandRedis(entries, common, sources.readFile);
  const upstreams = understandAll(inputs, sources.readFile);
  const s3 = understandS3(entries, sources.readFile);
  const hooks = readHookSecrets(entries, sources.readFile);
  const problems = [
    ...(file?.problems ?? []),
    ...environment.problems,
    ...(file?.upstreams === undefined ? [] : bothFormsProblems(entries)),
    ...listenProblems(entries),
    ...hookProblems(entries),
    ...hooks.problems,
    ...("issues" in common ? common.issues.map((issue) => valueProblem(issue, entries)) : []),
    ...("problems" in redis ? redis.problems : []),
    ...("problems" in s3 ? s3.problems : []),
    ...missing(inputs, file),
    ...upstreams.problems,
    ...upstreamListProblems(inputs),
  ];
  if (problems.length > 0 || !("values" in common) || !("config" in redis) || !("files" in s3))
    return { ok: false, problems: problems.toSorted(byPlace) };
  const s3Values = s3Config(common.values, s3.files);
  const config: Config = {
    ...assemble(common.values, redis.config, s3Values, upstreams.configs()),
    notifications: notificationsConfig(common.values, entries, hooks.secrets),
    webhooks: webhooksConfig(common.values, entries, hooks.secrets),
  };
  return {
    ok: true,
    config: deepFreeze(config),
    origins: originsOf(entries, inputs, file?.upstreams !== undefined),
    warnings: [
      ...config.upstreams.flatMap((each, i) => upstreamWarnings(inputs[i] as UpstreamInput, each)),
      ...endpointWarnings(entries.get("notifications.endpoints"), config.notifications?.endpoints ?? []),
    ],
  };
}

/** The upstream that the keys below `upstream`, and the environment, describe. */
function singleUpstream(entries: Entries): UpstreamInput {
  const own = new Map([...entries].filter(([key]) => isUpstreamKey(key)));
  return { label: "upstream", position: undefined, entries: own };
}

interface AllUpstreams {
  readonly problems: readonly Problem[];
  /** Only when there are no problems at all. */
  readonly configs: () => readonly UpstreamConfig[];
}

function understandAll(inputs: readonly UpstreamInput[], readFile: ReadFile): AllUpstreams {
  const all = inputs.map((input) => understandUpstream(input, readFile));
  return {
    problems: all.flatMap((each) => ("problems" in each ? each.problems : [])),
    configs() {
      const taken = new Set(namedNamespaces(inputs));
      return all.flatMap((each) => {
        if ("problems" in each) return [];
        const config = upstreamConfig(each, taken);
        for (const namespace of config.routing.namespaces) taken.add(namespace);
        return config;
      });
    },
  };
}

/** What every upstream needs, and each of a list. */
function missing(inputs: readonly UpstreamInput[], file: FileSource | undefined): Problem[] {
  if (file?.upstreams === undefined)
    return inputs.every(({ entries }) => entries.has("upstream.url")) || file?.broken
      ? []
      : [missingUpstream];
  return inputs.flatMap(({ label, position, entries }) => {
    const problem = (message: string): Problem => ({ key: label, position, message });
    return [
      ...(entries.has("upstream.name")
        ? []
        : [problem("has no name, expected one for each upstream of a list")]),
      ...(entries.has("upstream.url")
        ? []
        : [problem("has no url, expected that of the registry to mirror")]),
    ];
  });
}

function assemble(
  values: Values<CommonKey>,
  redis: RedisConfig | undefined,
  s3: S3Config | undefined,
  upstreams: readonly UpstreamConfig[],
): Config {
  const [first, ...others] = upstreams;
  if (first === undefined) throw new TypeError("there was checked to be an upstream");
  return {
    listen: values.listen,
    ops: values.opsListen,
    opsHosts: values.opsHosts ?? [],
    trustedProxies: values.trustedProxies ?? [],
    limits: {
      openAnswers: values["limits.openAnswers"],
      coldFills: values["limits.coldFills"],
      writes: values["limits.writes"],
      waiting: values["limits.waiting"],
      exempt: values["limits.exempt"] ?? [],
    },
    node: { name: values["node.name"] ?? hostname(), address: values["node.address"] },
    redis,
    upstreams: [first, ...others],
    cache: {
      directory: values["cache.dir"],
      maxSize: values["cache.maxSize"],
      evictTo: values["cache.evictTo"],
      keepFree: values["cache.keepFree"],
      scrub: values["cache.scrub"],
    },
    tags: {
      ttl: values["tags.ttl"],
      staleIfError: values["tags.staleIfError"],
      rules: values["tags.rules"] ?? [],
    },
    ...(s3 === undefined ? {} : { s3 }),
    catalog: values.catalog,
    manifestsWithoutLayers: values.manifestsWithoutLayers,
    proofs: values.proofs,
    cacheStatus: values.cacheStatus,
    drainTimeout: values.drainTimeout,
    drainDelay: values.drainDelay,
    logLevel: values["log.level"],
    logFormat: values["log.format"],
    influx: influxConfig(values),
    serverTiming: values.serverTiming,
    via: values.via,
  };
}

function influxConfig(values: Values<CommonKey>): Config["influx"] {
  const directory = values["influx.dir"];
  if (directory === undefined) return undefined;
  return { directory, maxFileSize: values["influx.maxFileSize"], keep: values["influx.keep"] };
}

/** Problems of the file by line, then the others as they came. */
function byPlace(a: Problem, b: Problem): number {
  const line = (problem: Problem) => problem.position?.line ?? Number.MAX_SAFE_INTEGER;
  const column = (problem: Problem) => problem.position?.column ?? 0;
  return line(a) - line(b) || column(a) - column(b);
}
