// The one schema of the configuration: each key with its type, default, environment variable and meaning. Parsing, types,
// --help, docs, `entrepot check` and the JSON Schema for editors are made from it. A new key is one entry here.
import { z } from "zod";
import * as t from "./text-types.ts";

/** How a value may appear in a message: `hidden` is never shown, `url` without what may be secret in it. */
export type Shown = "hidden" | "url" | "path";

/** What is known of a key besides its type. */
export interface About {
  /** Name of the environment variable after `ENTREPOT_`; left out for what only the file can say. */
  readonly env?: string;
  /** As a user would write it. */
  readonly default?: string;
  /** One sentence for people, without its full stop. */
  readonly description?: string;
  readonly shown?: Shown;
  /** The key of a mapping that a single value stands for. */
  readonly shorthand?: string;
  /** The key beside it without which it does not count. */
  readonly besides?: string;
}

/** What is known of the keys, by their type. */
export const abouts = z.registry<About>();

/** A key with a default, or one that may be left out. */
function setting<T extends z.ZodType>(type: T, about: About & { readonly default: string }): z.ZodPrefault<T>;
function setting<T extends z.ZodType>(type: T, about: About): z.ZodOptional<T>;
function setting(type: z.ZodType, about: About): z.ZodType {
  const made = about.default === undefined ? z.optional(type) : z.prefault(type, about.default);
  abouts.add(made, about);
  return made;
}

/** A key of an item in a list that has to be there. */
function required<T extends z.ZodType>(type: T, about: About): z.ZodNonOptional<T> {
  const made = z.nonoptional(type);
  abouts.add(made, about);
  return made;
}

/** Keys below a key. */
function section<const Shape extends z.ZodRawShape>(shape: Shape) {
  // No key is required, which the type of a shape unknown here cannot say.
  return z.prefault(z.object(shape), {} as never);
}

const tagRules = t.listOf(
  z.object({
    match: required(t.tagGlob, { description: "Pattern over repository:tag" }),
    ttl: required(t.age, { description: "As tags.ttl, for the tags that match" }),
  }),
  100,
  "rules",
);

const actions = ["pull", "push", "mount", "delete"] as const;

const endpoints = t.listOf(
  z.object({
    name: required(t.endpointName, { description: "Name in logs and metrics" }),
    url: required(t.endpointUrl, { shown: "url", description: "Where events are sent by POST" }),
    headers: setting(t.headersOf(t.headerValue), {
      shown: "hidden",
      description: "Headers sent along, by name",
    }),
    headerFiles: setting(t.headersOf(t.path), {
      shown: "path",
      description: "Files that hold the values of headers, by name; read again whenever they change",
    }),
    timeout: setting(t.timer(), { default: "1s", description: "How long one delivery may take" }),
    threshold: setting(t.wholeNumber(1, 100), {
      default: "10",
      description: "Failures in a row after which the receiver is left alone for a while",
    }),
    backoff: setting(t.timer(), { default: "1s", description: "How long it is left alone" }),
    mediaType: setting(t.oneOf(["v1", "v2"]), {
      default: "v1",
      description: "Version of the events' media type",
    }),
    ignore: section({
      actions: setting(t.listOf(t.oneOf(actions)), { description: "Actions that are not sent" }),
      mediaTypes: setting(t.listOf(t.mediaType), { description: "Media types that are not sent" }),
    }),
    headRequests: setting(t.yesOrNo, {
      default: "false",
      description: "Whether HEAD of a manifest counts as a pull",
    }),
  }),
  20,
  "endpoints",
);

const upstream = section({
  name: setting(t.upstreamName, {
    env: "UPSTREAM_NAME",
    default: "upstream",
    description: "Name of the registry in logs and metrics, and in paths as /NAME/v2/",
  }),
  url: setting(t.upstreamUrl, {
    env: "UPSTREAM_URL",
    shown: "url",
    description: "Required: the registry to mirror, http or https, with its path but without /v2",
  }),
  repositoryPrefix: setting(t.repositoryPrefix, {
    env: "UPSTREAM_REPOSITORY_PREFIX",
    description:
      "Put before every repository when the registry is asked: docker-local for Artifactory's repository-path method",
  }),
  username: setting(t.username, {
    env: "UPSTREAM_USERNAME",
    shown: "hidden",
    description: "Account at the registry; leave it out to pull anonymously",
  }),
  password: setting(t.password, {
    env: "UPSTREAM_PASSWORD",
    shown: "hidden",
    description: "Its password or token",
  }),
  passwordFile: setting(t.path, {
    env: "UPSTREAM_PASSWORD_FILE",
    shown: "path",
    description:
      "File that holds the password, instead of the password itself; read again whenever it changes",
  }),
  authorization: setting(t.authorization, {
    shown: "hidden",
    description: "Whole Authorization header to send instead of an account, such as Bearer TOKEN",
  }),
  authorizationFile: setting(t.path, {
    shown: "path",
    description: "File that holds that header's value; read again whenever it changes",
  }),
  credentialHelper: setting(t.credentialHelper, {
    description:
      "Program that knows the account: NAME for docker-credential-NAME in the PATH, or an absolute path",
  }),
  credentialHelperRegistry: setting(t.credentialHelperRegistry, {
    besides: "credentialHelper",
    description: "What the program is asked for; the registry's host unless set, as docker login stores it",
  }),
  credentialHelperLifetime: setting(t.age, {
    besides: "credentialHelper",
    default: "10m",
    description: "How long its answer is used before it is asked again",
  }),
  tokenRealms: setting(t.listOf(t.hostAndPort), {
    env: "UPSTREAM_TOKEN_REALMS",
    description:
      "Hosts that may hand out tokens for the registry although they are not on its own domain, or have private addresses",
  }),
  tls: section({
    ca: setting(t.path, {
      shown: "path",
      description: "PEM file of authorities to trust besides those of the system",
    }),
    cert: setting(t.path, {
      shown: "path",
      description: "PEM file of the certificate to show to the registry",
    }),
    key: setting(t.path, { shown: "path", description: "PEM file of its private key, not encrypted" }),
    serverName: setting(t.serverName, {
      description: "Name to look for in the registry's certificate, instead of the host of the URL",
    }),
  }),
  redirectsTo: setting(t.listOf(t.destination), {
    env: "UPSTREAM_REDIRECTS_TO",
    description:
      "Hosts and networks, such as 10.0.0.0/8, of private storages where the registry may send downloads and uploads",
  }),
  connectTimeout: setting(t.timer(), {
    env: "UPSTREAM_CONNECT_TIMEOUT",
    default: "5s",
    description: "How long connecting to the registry may take, TLS included",
  }),
  firstByteTimeout: setting(t.timer(), {
    env: "UPSTREAM_FIRST_BYTE_TIMEOUT",
    default: "30s",
    description: "How long the registry may take to begin an answer",
  }),
  idleTimeout: setting(t.timer(), {
    env: "UPSTREAM_IDLE_TIMEOUT",
    default: "30s",
    description: "Longest silence of the registry in the middle of an answer",
  }),
  maxConnections: setting(t.wholeNumber(1, 10_000), {
    env: "UPSTREAM_MAX_CONNECTIONS",
    default: "64",
    description: "Most connections open to the registry at once",
  }),
  segments: setting(t.wholeNumber(1, 16), {
    env: "UPSTREAM_SEGMENTS",
    default: "8",
    description:
      "Most parts of one blob fetched at once, by Range, where one transfer is slow and several are faster; 1 turns it off",
  }),
  namespaces: setting(t.listOf(t.hostAndPort), {
    env: "UPSTREAM_NAMESPACES",
    description:
      "Registries clients mean by ?ns= when they want this one; docker.io for Docker Hub unless set, or named by another upstream",
  }),
  hosts: setting(t.listOf(t.host), {
    description: "Host names of this mirror under which clients get this registry",
  }),
  component: setting(t.component, {
    description: "First part of a repository that stands for this registry, as hub in /v2/hub/team/app/",
  }),
  library: setting(t.yesOrNo, {
    description: "Whether app means library/app there; true for Docker Hub unless set",
  }),
  allow: setting(t.listOf(t.permission), {
    description:
      "Patterns over repository or repository:tag that clients may have, such as team/**; all unless set",
  }),
  deny: setting(t.listOf(t.permission), {
    description:
      "Patterns of what they may not have, whatever allow says; a denied tag's digest too, while it is known by denied tags alone (SECURITY.md)",
  }),
  next: setting(t.next, {
    shorthand: "upstream",
    description:
      "Upstream to ask next, a name or {upstream, on}: on is a list of absent (not there) and failure, both unless set",
  }),
  tags: section({
    ttl: setting(t.age, { description: "As tags.ttl, for this registry" }),
    rules: setting(tagRules, {
      description: "As tags.rules, for this registry; they go before the common ones",
    }),
  }),
  push: setting(t.yesOrNo, {
    env: "UPSTREAM_PUSH",
    default: "false",
    description: "Whether clients may push to the registry through this mirror",
  }),
});

const upstreams = setting(t.listOf(upstream.unwrap(), 100, "upstreams"), {
  env: "UPSTREAMS",
  description:
    "Several registries: instead of upstream, a list of mappings with the same keys, each with a name; the first is the default",
});

export const schema = z.object({
  listen: setting(t.address, {
    env: "LISTEN",
    default: "0.0.0.0:5000",
    description: "Address that clients pull from; :5000 means every IPv4 address, port 0 any free port",
  }),
  opsListen: setting(t.address, {
    env: "OPS_LISTEN",
    default: "127.0.0.1:5001",
    description: "Address of health, metrics and the status page; keep it private",
  }),
  opsHosts: setting(t.listOf(t.host), {
    env: "OPS_HOSTS",
    description:
      "Host names under which the status page is reached, besides addresses, localhost and the node's own name; others get 421",
  }),
  trustedProxies: setting(t.listOf(t.network), {
    env: "TRUSTED_PROXIES",
    description:
      "Addresses and networks, such as 10.0.0.0/8, of proxies whose X-Forwarded-For or Forwarded says who the client is; nobody's unless set",
  }),
  limits: section({
    openAnswers: setting(t.wholeNumber(1, 1_000_000), {
      env: "LIMITS_OPEN_ANSWERS",
      default: "4000",
      description:
        "Answers that one client (an address; of IPv6 a /64) may have open at once; what is over waits its turn",
    }),
    coldFills: setting(t.wholeNumber(1, 10_000), {
      env: "LIMITS_COLD_FILLS",
      default: "32",
      description:
        "Blobs not held here that are fetched for one client at once, from one registry; at most three quarters of what maxConnections lets through",
    }),
    writes: setting(t.wholeNumber(1, 10_000), {
      env: "LIMITS_WRITES",
      default: "32",
      description:
        "Writes of one client passed on at once to one registry; at most three quarters of maxConnections",
    }),
    waiting: setting(t.wholeNumber(0, 1_000_000), {
      env: "LIMITS_WAITING",
      default: "4000",
      description: "Requests of one client that may wait for each of these; more are 429",
    }),
    exempt: setting(t.listOf(t.network), {
      env: "LIMITS_EXEMPT",
      description: "Addresses and networks of clients without these limits",
    }),
  }),
  catalog: setting(t.yesOrNo, {
    env: "CATALOG",
    default: "true",
    description: "Whether /v2/_catalog lists the repositories held here",
  }),
  manifestsWithoutLayers: setting(t.oneOf(["serve", "refuse"]), {
    env: "MANIFESTS_WITHOUT_LAYERS",
    default: "serve",
    description:
      "A manifest held here some of whose layers are not, while the registry is away: serve it, or refuse it with 502 so that clients try elsewhere",
  }),
  proofs: setting(t.oneOf(["own", "shared"]), {
    env: "PROOFS",
    default: "own",
    description:
      "Whether a manifest gives the right to a blob whose bytes came from another upstream: own asks its upstream once, shared trusts all upstreams alike",
  }),
  cacheStatus: setting(t.yesOrNo, {
    env: "CACHE_STATUS",
    default: "true",
    description: "Whether answers carry Cache-Status (RFC 9211), which tells clients what is held here",
  }),
  drainTimeout: setting(t.timer(0), {
    env: "DRAIN_TIMEOUT",
    default: "10m",
    description: "How long transfers under way may take after SIGTERM before they are cut",
  }),
  drainDelay: setting(t.timer(0), {
    env: "DRAIN_DELAY",
    default: "7s",
    description:
      "How long after SIGTERM new requests are still answered while /readyz says 404; part of drainTimeout",
  }),
  node: section({
    name: setting(t.nodeName, {
      env: "NODE_NAME",
      description: "Name of this node among those of its datacenter; the machine's host name unless set",
    }),
    address: setting(t.nodeAddress, {
      env: "NODE_ADDRESS",
      description:
        "Where the other nodes reach this one, such as http://10.0.0.7:5000; without it they do not read from it",
    }),
  }),
  log: section({
    level: setting(t.oneOf(["trace", "debug", "info", "warn", "error", "silent"]), {
      env: "LOG_LEVEL",
      default: "info",
      description: "Least severe message that is logged: trace, debug, info, warn, error or silent",
    }),
    format: setting(t.oneOf(["json", "combined"]), {
      env: "LOG_FORMAT",
      default: "json",
      description:
        "What a request's line looks like: json, or combined as web servers write it, which sends all other lines to the standard error",
    }),
  }),
  influx: section({
    dir: setting(t.path, {
      env: "INFLUX_DIR",
      description:
        "Directory for entrepot.influx, a file with a point of InfluxDB's line protocol for every request; none unless set",
    }),
    maxFileSize: setting(t.size(1_000_000), {
      env: "INFLUX_MAX_FILE_SIZE",
      default: "64MB",
      description: "Size at which that file is set aside as entrepot.influx.1 and a new one begun",
    }),
    keep: setting(t.wholeNumber(0, 100), {
      env: "INFLUX_KEEP",
      default: "4",
      description: "How many files set aside are kept",
    }),
  }),
  serverTiming: setting(t.yesOrNo, {
    env: "SERVER_TIMING",
    default: "false",
    description: "Whether answers carry Server-Timing: how they came about and how long upstream took",
  }),
  via: setting(t.yesOrNo, {
    env: "VIA",
    default: "false",
    description: "Whether answers carry Via, which names the node they came through",
  }),
  upstream,
  upstreams,
  cache: section({
    dir: setting(t.path, {
      env: "CACHE_DIR",
      default: "./data",
      description: "Directory of the cache; made when missing",
    }),
    maxSize: setting(t.size(1_000_000), {
      env: "CACHE_MAX_SIZE",
      default: "50GB",
      description: "Bytes of images kept at most: 50GB is decimal, 50GiB binary",
    }),
    evictTo: setting(t.percent(1, 100), {
      env: "CACHE_EVICT_TO",
      default: "90%",
      description:
        "How far a full cache is emptied, as a share of cache.maxSize; least recently pulled first",
    }),
    scrub: setting(t.interval, {
      env: "CACHE_SCRUB",
      default: "7d",
      description:
        "How often everything stored is hashed again to find what the disk has changed, from 1s on; 0 never does",
    }),
    keepFree: setting(t.percent(0, 90), {
      env: "CACHE_KEEP_FREE",
      default: "5%",
      description: "Share of the file system that stays free, whatever cache.maxSize says",
    }),
  }),
  s3: section({
    bucket: setting(t.bucket, {
      env: "S3_BUCKET",
      description:
        "Bucket in which the nodes of a datacenter share what they fetched; without one nothing is shared",
    }),
    endpoint: setting(t.s3Endpoint, {
      env: "S3_ENDPOINT",
      shown: "url",
      description: "Address of an S3-compatible server; that of AWS for the region unless set",
    }),
    region: setting(t.region, {
      env: "S3_REGION",
      default: "us-east-1",
      description: "Region that requests are signed for",
    }),
    prefix: setting(t.s3Prefix, {
      env: "S3_PREFIX",
      description:
        "What the keys of objects begin with, such as mirror/eu; everything below it is the mirror's",
    }),
    pathStyle: setting(t.yesOrNo, {
      env: "S3_PATH_STYLE",
      description:
        "Whether the bucket is named in the path of URLs instead of in their host; true when there is an endpoint, unless set",
    }),
    accessKeyId: setting(t.accessKeyId, {
      env: "S3_ACCESS_KEY_ID",
      shown: "hidden",
      description:
        "Account at the store; without one the AWS SDK looks where it always does: environment, files, instance role",
    }),
    accessKeyIdFile: setting(t.path, {
      env: "S3_ACCESS_KEY_ID_FILE",
      shown: "path",
      description: "File that holds it instead; read again whenever it changes",
    }),
    secretAccessKey: setting(t.secretAccessKey, {
      env: "S3_SECRET_ACCESS_KEY",
      shown: "hidden",
      description: "The account's secret",
    }),
    secretAccessKeyFile: setting(t.path, {
      env: "S3_SECRET_ACCESS_KEY_FILE",
      shown: "path",
      description: "File that holds the secret, instead of the secret itself; read again whenever it changes",
    }),
    sse: setting(t.encryption, {
      env: "S3_SSE",
      description:
        "Encryption to ask for with every object, AES256 or aws:kms; what the bucket does by itself unless set",
    }),
    sseKeyId: setting(t.keyId, {
      env: "S3_SSE_KEY_ID",
      description: "Key for aws:kms; the account's own unless set",
    }),
    maxSize: setting(t.size(1_000_000), {
      env: "S3_MAX_SIZE",
      description:
        "Bytes of images kept in the bucket at most, least recently used deleted first; left to a rule of the bucket unless set",
    }),
    redirectAbove: setting(t.size(1), {
      env: "S3_REDIRECT_ABOVE",
      description:
        "Size from which on clients are sent to the bucket itself, with a signed URL; never unless set, for it has to be in their reach",
    }),
  }),
  tags: section({
    ttl: setting(t.age, {
      env: "TAG_TTL",
      default: "60s",
      description:
        "How long a tag is served before the registry is asked again; 0s asks every time, forever never",
    }),
    staleIfError: setting(t.age, {
      env: "STALE_IF_ERROR",
      default: "7d",
      description:
        "How old a tag may be and still be served while the registry is unreachable; 0s never, or forever",
    }),
    rules: setting(tagRules, {
      env: "TAG_RULES",
      description:
        "List of {match, ttl} for tags with a ttl of their own: a pattern over repository:tag, the first match wins",
    }),
  }),
  redis: section({
    url: setting(t.redisUrl, {
      env: "REDIS_URL",
      shown: "url",
      description:
        "Redis that the nodes of a datacenter share, redis://host:6379 or rediss:// for TLS; none unless set",
    }),
    sentinels: setting(t.servers, {
      env: "REDIS_SENTINELS",
      description: "Instead of url: host:port of the Sentinels that know where it is",
    }),
    master: setting(t.master, { env: "REDIS_MASTER", description: "What the Sentinels call it" }),
    sentinelPassword: setting(t.password, {
      env: "REDIS_SENTINEL_PASSWORD",
      shown: "hidden",
      description: "Password of the Sentinels themselves",
    }),
    sentinelPasswordFile: setting(t.path, {
      env: "REDIS_SENTINEL_PASSWORD_FILE",
      shown: "path",
      description: "File that holds it, instead; read again whenever it changes",
    }),
    cluster: setting(t.servers, {
      env: "REDIS_CLUSTER",
      description: "Instead of url: host:port of some nodes of a Redis Cluster",
    }),
    username: setting(t.redisUser, {
      env: "REDIS_USERNAME",
      description: "User of Redis (ACL); the default user unless set",
    }),
    password: setting(t.password, { env: "REDIS_PASSWORD", shown: "hidden", description: "Its password" }),
    passwordFile: setting(t.path, {
      env: "REDIS_PASSWORD_FILE",
      shown: "path",
      description:
        "File that holds the password, instead of the password itself; read again whenever it changes",
    }),
    db: setting(t.wholeNumber(0, 65_535), {
      env: "REDIS_DB",
      default: "0",
      description: "Number of the database; a Cluster has only 0",
    }),
    prefix: setting(t.redisPrefix, {
      env: "REDIS_PREFIX",
      default: "entrepot:",
      description: "What every key and channel begins with; mirrors with the same one share",
    }),
    tls: section({
      enabled: setting(t.yesOrNo, {
        env: "REDIS_TLS",
        description: "Whether to use TLS; true with rediss:// or when anything else of redis.tls is set",
      }),
      ca: setting(t.path, {
        shown: "path",
        description: "PEM file of the authorities to trust instead of those of the system",
      }),
      cert: setting(t.path, { shown: "path", description: "PEM file of the certificate to show to Redis" }),
      key: setting(t.path, { shown: "path", description: "PEM file of its private key, not encrypted" }),
      serverName: setting(t.serverName, {
        description: "Name to look for in the certificate of Redis, instead of its host",
      }),
    }),
  }),
  notifications: section({
    endpoints: setting(endpoints, {
      env: "NOTIFICATIONS_ENDPOINTS",
      description:
        "List of receivers of pull and push events in CNCF Distribution's format, each with name and url; see Notifications",
    }),
  }),
  webhooks: section({
    secret: setting(t.webhookSecret, {
      env: "WEBHOOKS_SECRET",
      shown: "hidden",
      description: "Secret that senders of webhooks show; without one, webhooks are not taken",
    }),
    secretFile: setting(t.path, {
      env: "WEBHOOKS_SECRET_FILE",
      shown: "path",
      description: "File that holds it, instead of the secret itself; read again whenever it changes",
    }),
    secretFiles: setting(t.webhookSecretFiles, {
      shown: "path",
      description:
        "Files with the secrets of single sources, by source: distribution, artifactory, harbor, dockerhub, quay, generic",
    }),
    prefetch: setting(t.yesOrNo, {
      env: "WEBHOOKS_PREFETCH",
      default: "false",
      description:
        "Whether the manifest of a pushed tag that has been pulled through here is fetched at once",
    }),
  }),
});
