// What the values of a configuration look like in the file.
import { formatAddress } from "./address.ts";
import type {
  Address,
  Config,
  NotificationEndpointConfig,
  RedisConfig,
  RoutingConfig,
  S3Config,
  TagRule,
  UpstreamConfig,
} from "./config.ts";
import type { OriginsByKey } from "./origin.ts";
import type { RedisKey } from "./redis-settings.ts";
import type { CommonKey, UpstreamKey } from "./settings.ts";
import { formatDuration, formatPercent, formatSize } from "./units.ts";

/** Undefined: the key is left out. */
export type Printed =
  | string
  | number
  | boolean
  | readonly Printed[]
  | { readonly [key: string]: Printed }
  | undefined;

/** Secrets are left out; `origins` knows the paths of the files that were read. */
export function printedCommon(config: Config, origins: OriginsByKey): Readonly<Record<CommonKey, Printed>> {
  return {
    listen: formatAddress(config.listen),
    opsListen: formatAddress(config.ops),
    opsHosts: config.opsHosts ?? [],
    trustedProxies: config.trustedProxies ?? [],
    "limits.openAnswers": config.limits?.openAnswers,
    "limits.coldFills": config.limits?.coldFills,
    "limits.writes": config.limits?.writes,
    "limits.waiting": config.limits?.waiting,
    "limits.exempt": config.limits?.exempt ?? [],
    catalog: config.catalog,
    manifestsWithoutLayers: config.manifestsWithoutLayers,
    proofs: config.proofs,
    cacheStatus: config.cacheStatus,
    drainTimeout: formatDuration(config.drainTimeout),
    drainDelay: formatDuration(config.drainDelay),
    "node.name": config.node.name,
    "node.address": config.node.address,
    "log.level": config.logLevel,
    "log.format": config.logFormat,
    "influx.dir": config.influx?.directory,
    "influx.maxFileSize": config.influx && formatSize(config.influx.maxFileSize),
    "influx.keep": config.influx?.keep,
    serverTiming: config.serverTiming,
    via: config.via,
    "cache.dir": config.cache.directory,
    "cache.maxSize": formatSize(config.cache.maxSize),
    "cache.evictTo": formatPercent(config.cache.evictTo),
    "cache.keepFree": formatPercent(config.cache.keepFree),
    "cache.scrub": formatDuration(config.cache.scrub),
    ...printedS3(config.s3, origins),
    "tags.ttl": formatDuration(config.tags.ttl),
    "tags.staleIfError": formatDuration(config.tags.staleIfError),
    "tags.rules": rules(config.tags.rules),
    "notifications.endpoints": config.notifications?.endpoints.map(printedEndpoint),
    "webhooks.secret": undefined,
    "webhooks.secretFile": origins.get("webhooks.secretFile")?.path,
    "webhooks.secretFiles": config.webhooks && filled(config.webhooks.files),
    "webhooks.prefetch": config.webhooks?.prefetch,
    ...printedRedis(config.redis, origins),
  };
}

/** Nothing at all without Redis: settings of its own would ask for a server. */
function printedRedis(
  redis: RedisConfig | undefined,
  origins: OriginsByKey,
): Readonly<Record<RedisKey, Printed>> {
  const path = (key: RedisKey) => origins.get(key)?.path;
  const servers = redis?.servers;
  const { kind } = servers ?? {};
  const scheme = redis?.tls === undefined ? "redis" : "rediss";
  return {
    "redis.url": kind === "standalone" ? `${scheme}://${formatAddress(servers as Address)}` : undefined,
    "redis.sentinels": servers?.kind === "sentinel" ? servers.sentinels.map(formatAddress) : undefined,
    "redis.master": servers?.kind === "sentinel" ? servers.master : undefined,
    "redis.sentinelPassword": undefined,
    "redis.sentinelPasswordFile": path("redis.sentinelPasswordFile"),
    "redis.cluster": servers?.kind === "cluster" ? servers.nodes.map(formatAddress) : undefined,
    "redis.username": redis?.username,
    "redis.password": undefined,
    "redis.passwordFile": path("redis.passwordFile"),
    "redis.db": redis?.database,
    "redis.prefix": redis?.prefix,
    "redis.tls.enabled": redis && redis.tls !== undefined,
    "redis.tls.ca": path("redis.tls.ca"),
    "redis.tls.cert": path("redis.tls.cert"),
    "redis.tls.key": path("redis.tls.key"),
    "redis.tls.serverName": redis?.tls?.serverName,
  };
}

type S3Key = CommonKey & `s3.${string}`;

function printedS3(s3: S3Config | undefined, origins: OriginsByKey): Readonly<Record<S3Key, Printed>> {
  const { encryption, maxSize, redirectAbove } = s3 ?? {};
  return {
    "s3.bucket": s3?.bucket,
    "s3.endpoint": s3?.endpoint?.href,
    "s3.region": s3?.region,
    "s3.prefix": s3?.prefix || undefined,
    "s3.pathStyle": s3?.pathStyle,
    "s3.accessKeyId": undefined,
    "s3.accessKeyIdFile": s3 && origins.get("s3.accessKeyIdFile")?.path,
    "s3.secretAccessKey": undefined,
    "s3.secretAccessKeyFile": s3 && origins.get("s3.secretAccessKeyFile")?.path,
    "s3.sse": encryption?.algorithm,
    "s3.sseKeyId": encryption?.keyId,
    "s3.maxSize": maxSize === undefined ? undefined : formatSize(maxSize),
    "s3.redirectAbove": redirectAbove === undefined ? undefined : formatSize(redirectAbove),
  };
}

/** Without the headers that stand in the configuration itself, and without the URL's query: both may be secret. */
function printedEndpoint(endpoint: NotificationEndpointConfig): Printed {
  const { name, url, headers, timeout, threshold, backoff, mediaType, ignore, headRequests } = endpoint;
  const files = headers.flatMap(({ name, file }) => (file === undefined ? [] : [[name, file] as const]));
  const headerFiles = filled(Object.fromEntries(files));
  return {
    name,
    url: `${url.origin}${url.pathname}`,
    ...(headerFiles === undefined ? {} : { headerFiles }),
    timeout: formatDuration(timeout),
    threshold,
    backoff: formatDuration(backoff),
    mediaType,
    ignore: { ...ignore },
    headRequests,
  };
}

/** Undefined for a mapping with nothing in it. */
function filled(map: Readonly<Record<string, string>>): Printed {
  return Object.keys(map).length === 0 ? undefined : map;
}

/** Secrets are left out; `origins` knows the paths of the files that were read. */
export function printedUpstream(
  upstream: UpstreamConfig,
  origins: OriginsByKey,
): Readonly<Record<UpstreamKey, Printed>> {
  const { auth, routing, tags } = upstream;
  const path = (key: UpstreamKey) => origins.get(key)?.path;
  const helper = auth.kind === "helper" ? auth : undefined;
  return {
    "upstream.name": upstream.name,
    "upstream.url": upstream.url.href,
    "upstream.repositoryPrefix": upstream.repositoryPrefix || undefined,
    "upstream.username": auth.kind === "basic" ? auth.username : undefined,
    "upstream.password": undefined,
    "upstream.passwordFile": path("upstream.passwordFile"),
    "upstream.authorization": undefined,
    "upstream.authorizationFile": path("upstream.authorizationFile"),
    "upstream.credentialHelper": helper?.program,
    "upstream.credentialHelperRegistry": helper?.registry,
    "upstream.credentialHelperLifetime": helper && formatDuration(helper.lifetime),
    "upstream.tokenRealms": upstream.tokenRealms,
    "upstream.tls.ca": path("upstream.tls.ca"),
    "upstream.tls.cert": path("upstream.tls.cert"),
    "upstream.tls.key": path("upstream.tls.key"),
    "upstream.tls.serverName": upstream.tls?.serverName,
    "upstream.redirectsTo": upstream.redirects?.allowPrivate ?? [],
    "upstream.connectTimeout": formatDuration(upstream.connectTimeout),
    "upstream.firstByteTimeout": formatDuration(upstream.firstByteTimeout),
    "upstream.idleTimeout": formatDuration(upstream.idleTimeout),
    "upstream.maxConnections": upstream.maxConnections,
    "upstream.segments": upstream.segments,
    "upstream.namespaces": routing.namespaces,
    "upstream.hosts": routing.hosts,
    "upstream.component": routing.component,
    "upstream.library": routing.library,
    "upstream.allow": routing.allow,
    "upstream.deny": routing.deny,
    "upstream.next": next(routing.next),
    "upstream.tags.ttl": tags.ttl === undefined ? undefined : formatDuration(tags.ttl),
    "upstream.tags.rules": rules(tags.rules),
    "upstream.push": upstream.push,
  };
}

function rules(all: readonly TagRule[]): Printed {
  return all.map(({ match, ttl }) => ({ match, ttl: formatDuration(ttl) }));
}

function next(link: RoutingConfig["next"]): Printed {
  if (link === undefined) return undefined;
  const on = [...(link.onAbsent ? ["absent"] : []), ...(link.onFailure ? ["failure"] : [])];
  return { upstream: link.name, on };
}
