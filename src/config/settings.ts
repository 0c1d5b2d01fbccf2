// The one table of settings. The schema, the environment section of --help and the configuration table of the README
// are made from it. Keys are paths in the YAML file.
import { hookSettings } from "./hook-settings.ts";
import { influxSettings } from "./influx-settings.ts";
import { redisSettings } from "./redis-settings.ts";
import * as redis from "./redis-types.ts";
import { s3Settings } from "./s3-settings.ts";
import type { Setting } from "./setting.ts";
import { upstreamSettings } from "./upstream-settings.ts";
import { hosts, networks } from "./upstream-types.ts";
import * as type from "./value-types.ts";

/** Names the file itself; the same as `--config`. */
export const configVariable = {
  env: "ENTREPOT_CONFIG",
  description: "Path of the YAML file, like --config; without either, only the environment counts",
} as const;

export const settings = {
  listen: {
    env: "ENTREPOT_LISTEN",
    default: "0.0.0.0:5000",
    type: type.address,
    description: "Address that clients pull from; :5000 means every IPv4 address, port 0 any free port",
  },
  opsListen: {
    env: "ENTREPOT_OPS_LISTEN",
    default: "127.0.0.1:5001",
    type: type.address,
    description: "Address of health, metrics and the status page; keep it private",
  },
  opsHosts: {
    env: "ENTREPOT_OPS_HOSTS",
    default: undefined,
    type: hosts,
    form: "list",
    description:
      "Host names under which the status page is reached, besides addresses, localhost and the node's own name; others get 421",
  },
  trustedProxies: {
    env: "ENTREPOT_TRUSTED_PROXIES",
    default: undefined,
    type: networks,
    form: "list",
    description:
      "Addresses and networks, such as 10.0.0.0/8, of proxies whose X-Forwarded-For or Forwarded says who the client is; nobody's unless set",
  },
  "limits.openAnswers": {
    env: "ENTREPOT_LIMITS_OPEN_ANSWERS",
    default: "4000",
    type: type.wholeNumber(1, 1_000_000),
    description:
      "Answers that one client (an address; of IPv6 a /64) may have open at once; what is over waits its turn",
  },
  "limits.coldFills": {
    env: "ENTREPOT_LIMITS_COLD_FILLS",
    default: "32",
    type: type.wholeNumber(1, 10_000),
    description:
      "Blobs not held here that are fetched for one client at once, from one registry; at most three quarters of what maxConnections lets through",
  },
  "limits.writes": {
    env: "ENTREPOT_LIMITS_WRITES",
    default: "32",
    type: type.wholeNumber(1, 10_000),
    description:
      "Writes of one client passed on at once to one registry; at most three quarters of maxConnections",
  },
  "limits.waiting": {
    env: "ENTREPOT_LIMITS_WAITING",
    default: "4000",
    type: type.wholeNumber(0, 1_000_000),
    description: "Requests of one client that may wait for each of these; more are 429",
  },
  "limits.exempt": {
    env: "ENTREPOT_LIMITS_EXEMPT",
    default: undefined,
    type: networks,
    form: "list",
    description: "Addresses and networks of clients without these limits",
  },
  catalog: {
    env: "ENTREPOT_CATALOG",
    default: "true",
    type: type.yesOrNo,
    description: "Whether /v2/_catalog lists the repositories held here",
  },
  manifestsWithoutLayers: {
    env: "ENTREPOT_MANIFESTS_WITHOUT_LAYERS",
    default: "serve",
    type: type.oneOf(["serve", "refuse"]),
    description:
      "A manifest held here some of whose layers are not, while the registry is away: serve it, or refuse it with 502 so that clients try elsewhere",
  },
  proofs: {
    env: "ENTREPOT_PROOFS",
    default: "own",
    type: type.oneOf(["own", "shared"]),
    description:
      "Whether a manifest gives the right to a blob whose bytes came from another upstream: own asks its upstream once, shared trusts all upstreams alike",
  },
  cacheStatus: {
    env: "ENTREPOT_CACHE_STATUS",
    default: "true",
    type: type.yesOrNo,
    description: "Whether answers carry Cache-Status (RFC 9211), which tells clients what is held here",
  },
  drainTimeout: {
    env: "ENTREPOT_DRAIN_TIMEOUT",
    default: "10m",
    type: type.timer(0),
    description: "How long transfers under way may take after SIGTERM before they are cut",
  },
  drainDelay: {
    env: "ENTREPOT_DRAIN_DELAY",
    default: "7s",
    type: type.timer(0),
    description:
      "How long after SIGTERM new requests are still answered while /readyz says 404; part of drainTimeout",
  },
  "node.name": {
    env: "ENTREPOT_NODE_NAME",
    default: undefined,
    type: redis.nodeName,
    description: "Name of this node among those of its datacenter; the machine's host name unless set",
  },
  "node.address": {
    env: "ENTREPOT_NODE_ADDRESS",
    default: undefined,
    type: redis.nodeAddress,
    description:
      "Where the other nodes reach this one, such as http://10.0.0.7:5000; without it they do not read from it",
  },
  "log.level": {
    env: "ENTREPOT_LOG_LEVEL",
    default: "info",
    type: type.oneOf(["trace", "debug", "info", "warn", "error", "silent"]),
    description: "Least severe message that is logged: trace, debug, info, warn, error or silent",
  },
  "log.format": {
    env: "ENTREPOT_LOG_FORMAT",
    default: "json",
    type: type.oneOf(["json", "combined"]),
    description:
      "What a request's line looks like: json, or combined as web servers write it, which sends all other lines to the standard error",
  },
  ...influxSettings,
  serverTiming: {
    env: "ENTREPOT_SERVER_TIMING",
    default: "false",
    type: type.yesOrNo,
    description: "Whether answers carry Server-Timing: how they came about and how long upstream took",
  },
  via: {
    env: "ENTREPOT_VIA",
    default: "false",
    type: type.yesOrNo,
    description: "Whether answers carry Via, which names the node they came through",
  },
  ...upstreamSettings,
  "cache.dir": {
    env: "ENTREPOT_CACHE_DIR",
    default: "./data",
    type: type.path,
    description: "Directory of the cache; made when missing",
  },
  "cache.maxSize": {
    env: "ENTREPOT_CACHE_MAX_SIZE",
    default: "50GB",
    type: type.size(1_000_000),
    description: "Bytes of images kept at most: 50GB is decimal, 50GiB binary",
  },
  "cache.evictTo": {
    env: "ENTREPOT_CACHE_EVICT_TO",
    default: "90%",
    type: type.percent(1, 100),
    description: "How far a full cache is emptied, as a share of cache.maxSize; least recently pulled first",
  },
  "cache.keepFree": {
    env: "ENTREPOT_CACHE_KEEP_FREE",
    default: "5%",
    type: type.percent(0, 90),
    description: "Share of the file system that stays free, whatever cache.maxSize says",
  },
  "cache.scrub": {
    env: "ENTREPOT_CACHE_SCRUB",
    default: "7d",
    type: type.interval,
    description:
      "How often everything stored is hashed again to find what the disk has changed, from 1s on; 0 never does",
  },
  ...s3Settings,
  "tags.ttl": {
    env: "ENTREPOT_TAG_TTL",
    default: "60s",
    type: type.age,
    description:
      "How long a tag is served before the registry is asked again; 0s asks every time, forever never",
  },
  "tags.staleIfError": {
    env: "ENTREPOT_STALE_IF_ERROR",
    default: "7d",
    type: type.age,
    description:
      "How old a tag may be and still be served while the registry is unreachable; 0s never, or forever",
  },
  "tags.rules": {
    env: undefined,
    default: undefined,
    type: type.tagRules,
    form: "rules",
    description:
      "List of {match, ttl} for tags with a ttl of their own: a pattern over repository:tag, the first match wins",
  },
  ...redisSettings,
  ...hookSettings,
} as const satisfies Record<string, Setting>;

export type SettingKey = keyof typeof settings;
export type UpstreamKey = keyof typeof upstreamSettings;
export type CommonKey = Exclude<SettingKey, UpstreamKey>;

export const settingKeys = Object.keys(settings) as readonly SettingKey[];
export const upstreamKeys = settingKeys.filter(isUpstreamKey);
export const commonKeys = settingKeys.filter((key): key is CommonKey => !isUpstreamKey(key));

export function isUpstreamKey(key: SettingKey): key is UpstreamKey {
  return key.startsWith("upstream.");
}

/** The setting's entry in the table, without its exact type. */
export function settingOf(key: SettingKey): Setting {
  return settings[key];
}
