// The resolved configuration: what the rest of the program sees. Durations in milliseconds, sizes in bytes. What is
// written in the file under a key stands here under the same key, but for what several keys say together.
import { hostname } from "node:os";
import type { z } from "zod";
import { webhookSources } from "../ports/event.ts";
import type { Address } from "./address.ts";
import { readSecret, readTls, type SecretKind, type TlsConfig } from "./files.ts";
import type { ReadFile } from "./read-text.ts";
import { schema } from "./schema.ts";
import { fixedSecret, type Secret, type SecretSource } from "./secret.ts";
import { type Path, pathText } from "./settings.ts";
import { Sources } from "./sources.ts";
import * as t from "./text-types.ts";

export type { Address } from "./address.ts";
export type { TlsConfig } from "./files.ts";

/** Nothing in it can be set; secrets and URLs are left as they are. */
type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends Secret | URL | string | number | boolean | undefined
    ? T
    : { readonly [Key in keyof T]: Frozen<T[Key]> };

/** What the schema makes of the settings. */
export type Values = z.output<typeof schema>;
type UpstreamValues = Values["upstream"];

/** How this mirror proves itself to an upstream. Bearer tokens (whenever upstream asks for them) need no kind. */
export type UpstreamAuth =
  | { readonly kind: "none" }
  | { readonly kind: "basic"; readonly username: string; readonly password: SecretSource }
  /** A whole Authorization value, such as `Bearer xyz` or `Token xyz`, sent as it is. */
  | { readonly kind: "header"; readonly value: SecretSource }
  | {
      readonly kind: "helper";
      /** `name` for `docker-credential-name` in the PATH, or an absolute path. */
      readonly program: string;
      /** What the program is asked for: the registry's name in its store, usually its host. */
      readonly registry: string;
      /** How long an answer is used. */
      readonly lifetime: number;
    };

/** Settings that say together how to log in. */
type LoginKey =
  | "username"
  | "password"
  | "passwordFile"
  | "authorization"
  | "authorizationFile"
  | "credentialHelper"
  | "credentialHelperRegistry"
  | "credentialHelperLifetime";

/** See the schema for what each key means. */
export type UpstreamConfig = Frozen<Omit<Filled<UpstreamValues>, LoginKey | "tls">> & {
  readonly auth: UpstreamAuth;
  /** For https; left out: what Node trusts, and no certificate of our own. */
  readonly tls?: TlsConfig | undefined;
  /**
   * firstByteTimeout for manifests and for whether a blob is there, which registries answer without fetching anything: a
   * hung upstream is found out sooner. Never longer than firstByteTimeout; left out: 10 s.
   */
  readonly manifestTimeout?: number | undefined;
};

/** An upstream's values with what depends on its URL, and empty lists where nothing was set. */
type Filled<V extends { url?: URL | undefined }> = Omit<
  V,
  "url" | ListKey | "library" | "repositoryPrefix" | "tags"
> &
  Readonly<Record<ListKey, readonly string[]>> & {
    readonly url: URL;
    readonly library: boolean;
    readonly repositoryPrefix: string;
    readonly tags: { readonly ttl?: number | undefined; readonly rules: TagRules };
  };
type ListKey = "tokenRealms" | "redirectsTo" | "namespaces" | "hosts" | "allow" | "deny";

/** Patterns over `repository:tag`; `*` stops at `/`, `**` does not. First match wins. `ttl` Infinity: never asked again. */
type TagRules = Frozen<NonNullable<Values["tags"]["rules"]>>;

/** Redis, where the nodes of one datacenter share what they know. */
export interface RedisConfig {
  readonly servers:
    | ({ readonly kind: "standalone" } & Address)
    | {
        readonly kind: "sentinel";
        readonly sentinels: readonly Address[];
        /** What the sentinels call the group of servers. */
        readonly master: string;
        readonly password: SecretSource | undefined;
      }
    | { readonly kind: "cluster"; readonly nodes: readonly Address[] };
  /** Left out: the default user. */
  readonly username: string | undefined;
  readonly password: SecretSource | undefined;
  readonly database: number;
  /** What every key and channel begins with. */
  readonly prefix: string;
  /** Undefined: no TLS. */
  readonly tls: TlsConfig | undefined;
}

/** A bucket of an S3-compatible store that the nodes of one datacenter share. */
export interface S3Config {
  /** Undefined: that of AWS for the region. */
  readonly endpoint: URL | undefined;
  readonly region: string;
  readonly bucket: string;
  /** What every key begins with; "" or ends in a slash. */
  readonly prefix: string;
  /** Whether the bucket is named in the path of URLs instead of in their host. */
  readonly pathStyle: boolean;
  /** Undefined: the AWS SDK finds them (environment, files, instance role). */
  readonly credentials:
    | { readonly accessKeyId: SecretSource; readonly secretAccessKey: SecretSource }
    | undefined;
  /** Encryption asked for with every object; undefined: what the bucket does by itself. */
  readonly encryption:
    | { readonly algorithm: "AES256"; readonly keyId?: undefined }
    | { readonly algorithm: "aws:kms"; readonly keyId: string | undefined }
    | undefined;
  /** Bytes of blobs kept at most; undefined: a rule of the bucket sees to that. */
  readonly maxSize: number | undefined;
  /** Blobs of at least so many bytes are read from S3 by clients themselves; undefined: none. */
  readonly redirectAbove: number | undefined;
}

type EndpointValues = NonNullable<Values["notifications"]["endpoints"]>[number];

/** See telemetry/notifications/notification-endpoint.ts for what each of them does. */
export type NotificationEndpointConfig = Frozen<
  Omit<EndpointValues, "headers" | "headerFiles" | "ignore">
> & {
  readonly headers: readonly { readonly name: string; readonly value: SecretSource }[];
  readonly ignore: { readonly actions: readonly string[]; readonly mediaTypes: readonly string[] };
};

export interface WebhooksConfig {
  /** By source; one without a secret takes nothing. */
  readonly secrets: Readonly<Record<string, SecretSource>>;
  /** Whether a pushed tag that has been pulled through here is fetched at once. */
  readonly prefetch: boolean;
}

/** Files with a line of InfluxDB's line protocol for every request. */
export type InfluxConfig = Readonly<Values["influx"]> & { readonly dir: string };

/** See the schema for what each key means. */
export type Config = Frozen<
  Omit<
    Values,
    | "upstream"
    | "upstreams"
    | "node"
    | "limits"
    | "influx"
    | "tags"
    | "s3"
    | "redis"
    | "notifications"
    | "webhooks"
  >
> & {
  readonly node: { readonly name: string; readonly address?: string | undefined };
  readonly upstreams: readonly [UpstreamConfig, ...UpstreamConfig[]];
  readonly tags: { readonly ttl: number; readonly staleIfError: number; readonly rules: TagRules };
  /** What one client may have at once; see http/client-limits.ts. Left out: its defaults, for everybody. */
  readonly limits?:
    | (Frozen<Omit<Values["limits"], "exempt">> & { readonly exempt: readonly string[] })
    | undefined;
  /** Undefined: no such files. */
  readonly influx?: InfluxConfig | undefined;
  /** Undefined: this node shares nothing. */
  readonly redis?: RedisConfig | undefined;
  /** Undefined: nothing is shared with other nodes but what upstream has. */
  readonly s3?: S3Config | undefined;
  /** Undefined: nobody is told of pulls and pushes. */
  readonly notifications?: { readonly endpoints: readonly NotificationEndpointConfig[] } | undefined;
  /** Undefined: no webhook is taken. */
  readonly webhooks?: WebhooksConfig | undefined;
};

// ---- what depends on other settings -------------------------------------------------------------------------------

/** Names of Docker Hub in image references; its registry has another host. */
const dockerHub = {
  namespace: "docker.io",
  host: "registry-1.docker.io",
  /** What docker login calls it. */
  login: "https://index.docker.io/v1/",
};

/** Sets what was left to a default that other settings decide. `taken` are the namespaces the configuration names. */
export function fillDefaults(values: Values, taken: ReadonlySet<string>): void {
  values.node.name ??= hostname();
  if (values.s3.bucket !== undefined) values.s3.pathStyle ??= values.s3.endpoint !== undefined;
  const { tls, url } = values.redis;
  tls.enabled ??= url?.tls === true || [tls.ca, tls.cert, tls.serverName].some((each) => each !== undefined);
  const named = new Set(taken);
  for (const upstream of values.upstreams ?? [values.upstream]) {
    const isHub = upstream.url?.hostname === dockerHub.host;
    upstream.library ??= isHub;
    // A namespace that nobody asked for gives way to one that another upstream names.
    upstream.namespaces ??= isHub && !named.has(dockerHub.namespace) ? [dockerHub.namespace] : [];
    for (const namespace of upstream.namespaces) named.add(namespace);
    if (upstream.credentialHelper !== undefined)
      upstream.credentialHelperRegistry ??= isHub ? dockerHub.login : upstream.url?.host;
  }
}

// ---- from values to the configuration -----------------------------------------------------------------------------

/** Secrets and certificates out of the files that settings name, by the path of the setting; problems are told. */
export class Files {
  readonly #sources: Sources;
  readonly #readFile: ReadFile;
  readonly #secrets = new Map<string, SecretSource>();
  readonly #tls = new Map<string, Omit<TlsConfig, "serverName">>();

  /** Reads all of them. `upstreams` are the paths of all upstreams. */
  constructor(sources: Sources, upstreams: readonly Path[], readFile: ReadFile) {
    this.#sources = sources;
    this.#readFile = readFile;
    for (const path of upstreams) {
      this.#secret([...path, "passwordFile"], password);
      this.#secret([...path, "authorizationFile"], {
        word: "Authorization header's value",
        type: t.authorization,
      });
    }
    for (const path of [["redis"], ...upstreams]) {
      const at = [...path, "tls"];
      this.#tls.set(pathText(at), readTls(at, sources, readFile));
    }
    this.#secret(["redis", "passwordFile"], password);
    this.#secret(["redis", "sentinelPasswordFile"], password);
    this.#secret(["s3", "accessKeyIdFile"], { word: "access key's id", type: t.accessKeyId });
    this.#secret(["s3", "secretAccessKeyFile"], { word: "secret access key", type: t.secretAccessKey });
    this.#secret(["webhooks", "secretFile"], webhookSecret);
    for (const source of keysOf(sources, ["webhooks", "secretFiles"]))
      this.#secret(["webhooks", "secretFiles", source], webhookSecret);
    const endpoints = sources.get(["notifications", "endpoints"]);
    for (const index of Array.isArray(endpoints) ? endpoints.keys() : []) {
      const at = ["notifications", "endpoints", index, "headerFiles"];
      for (const name of keysOf(sources, at))
        this.#secret([...at, name], { word: "header's value", type: t.headerValue });
    }
  }

  #secret(path: Path, kind: SecretKind): void {
    const source = readSecret(path, kind, this.#sources, this.#readFile);
    if (source !== undefined) this.#secrets.set(pathText(path), source);
  }

  /** Given directly, or by the file that the setting at `path` names. */
  secret(direct: Secret | undefined, path: Path): SecretSource | undefined {
    return direct === undefined ? this.#secrets.get(pathText(path)) : fixedSecret(direct);
  }

  /** Undefined where neither a file nor a server name is set. */
  tls(path: Path, serverName: string | undefined): TlsConfig | undefined {
    const files = this.#tls.get(pathText(path)) ?? {};
    const isSet = [files.ca, files.cert, serverName].some((each) => each !== undefined);
    return isSet ? { ...files, serverName } : undefined;
  }
}

const password: SecretKind = { word: "password", type: t.password };
const webhookSecret: SecretKind = { word: "webhook secret", type: t.webhookSecret };

function keysOf(sources: Sources, path: Path): string[] {
  const map = sources.get(path);
  return typeof map === "object" && !Array.isArray(map) ? Object.keys(map) : [];
}

/** The configuration of values without problems. */
export function configOf(values: Values, files: Files): Config {
  const { upstream, upstreams, node, limits, influx, tags, s3, redis, notifications, webhooks, ...others } =
    values;
  const [first, ...more] = upstreams?.length
    ? upstreams.map((each, index) => upstreamOf(each, ["upstreams", index], files))
    : [upstreamOf(upstream, ["upstream"], files)];
  const { dir } = influx;
  return {
    ...others,
    trustedProxies: others.trustedProxies ?? [],
    opsHosts: others.opsHosts ?? [],
    limits: { ...limits, exempt: limits.exempt ?? [] },
    node: { ...node, name: node.name ?? hostname() },
    upstreams: [first as UpstreamConfig, ...more],
    tags: { ...tags, rules: tags.rules ?? [] },
    influx: dir === undefined ? undefined : { ...influx, dir },
    s3: s3Of(s3, files),
    redis: redisOf(redis, files),
    notifications: notificationsOf(notifications, files),
    webhooks: webhooksOf(webhooks, files),
  };
}

function upstreamOf(values: UpstreamValues, path: Path, files: Files): UpstreamConfig {
  const {
    username: _username,
    password: _password,
    passwordFile: _passwordFile,
    authorization: _authorization,
    authorizationFile: _authorizationFile,
    credentialHelper: _helper,
    credentialHelperRegistry: _registry,
    credentialHelperLifetime: _lifetime,
    url,
    tls,
    ...others
  } = values;
  if (url === undefined) throw new TypeError("the URL of every upstream was checked to be set");
  return {
    ...others,
    url,
    library: others.library ?? false,
    tokenRealms: others.tokenRealms ?? [],
    redirectsTo: others.redirectsTo ?? [],
    namespaces: others.namespaces ?? [],
    hosts: others.hosts ?? [],
    allow: others.allow ?? [],
    deny: others.deny ?? [],
    repositoryPrefix: others.repositoryPrefix ?? "",
    tags: { ...others.tags, rules: others.tags.rules ?? [] },
    auth: authOf(values, path, files),
    tls: files.tls([...path, "tls"], tls.serverName),
  };
}

function authOf(values: UpstreamValues, path: Path, files: Files): UpstreamAuth {
  const header = files.secret(values.authorization, [...path, "authorizationFile"]);
  if (header !== undefined) return { kind: "header", value: header };
  const { username, credentialHelper, credentialHelperRegistry, credentialHelperLifetime } = values;
  if (credentialHelper !== undefined)
    return {
      kind: "helper",
      program: credentialHelper,
      registry: credentialHelperRegistry ?? "",
      lifetime: credentialHelperLifetime,
    };
  const secret = files.secret(values.password, [...path, "passwordFile"]);
  if (username === undefined || secret === undefined) return { kind: "none" };
  return { kind: "basic", username, password: secret };
}

/** What every setting comes to when only a name and a URL are given. */
export function plainUpstream(name: string, url: URL): UpstreamConfig {
  const values = schema.parse({ upstream: { name, url: url.href } });
  fillDefaults(values, new Set());
  return upstreamOf(values.upstream, ["upstream"], new Files(new Sources(), [], () => ""));
}

function redisOf(values: Values["redis"], files: Files): RedisConfig | undefined {
  const { url, sentinels, master, cluster, username, db, prefix, tls } = values;
  const servers = (): RedisConfig["servers"] | undefined => {
    if (url !== undefined) return { kind: "standalone", host: url.host, port: url.port };
    if (sentinels !== undefined && master !== undefined)
      return {
        kind: "sentinel",
        sentinels,
        master,
        password: files.secret(values.sentinelPassword, ["redis", "sentinelPasswordFile"]),
      };
    return cluster && { kind: "cluster", nodes: cluster };
  };
  const found = servers();
  if (found === undefined) return undefined;
  const own = files.tls(["redis", "tls"], tls.serverName);
  return {
    servers: found,
    username,
    password: files.secret(values.password, ["redis", "passwordFile"]),
    database: db,
    prefix,
    tls: tls.enabled === true ? (own ?? {}) : undefined,
  };
}

function s3Of(values: Values["s3"], files: Files): S3Config | undefined {
  const { bucket, endpoint, region, prefix, pathStyle, sse, sseKeyId, maxSize, redirectAbove } = values;
  if (bucket === undefined) return undefined;
  const id = files.secret(values.accessKeyId, ["s3", "accessKeyIdFile"]);
  const secret = files.secret(values.secretAccessKey, ["s3", "secretAccessKeyFile"]);
  return {
    endpoint,
    region,
    bucket,
    prefix: prefix ?? "",
    pathStyle: pathStyle ?? false,
    credentials:
      id === undefined || secret === undefined ? undefined : { accessKeyId: id, secretAccessKey: secret },
    encryption: sse && (sse === "aws:kms" ? { algorithm: sse, keyId: sseKeyId } : { algorithm: sse }),
    maxSize,
    redirectAbove,
  };
}

function notificationsOf(values: Values["notifications"], files: Files): Config["notifications"] {
  const endpoints = (values.endpoints ?? []).map((endpoint, index): NotificationEndpointConfig => {
    const { headers = {}, headerFiles = {}, ignore, ...others } = endpoint;
    const path = ["notifications", "endpoints", index, "headerFiles"];
    const all = [
      ...Object.entries(headers).map(([name, value]) => ({ name, value: fixedSecret(value) })),
      ...Object.keys(headerFiles).flatMap((name) => {
        const value = files.secret(undefined, [...path, name]);
        return value === undefined ? [] : [{ name, value }];
      }),
    ];
    return {
      ...others,
      headers: all,
      ignore: { actions: ignore.actions ?? [], mediaTypes: ignore.mediaTypes ?? [] },
    };
  });
  return endpoints.length === 0 ? undefined : { endpoints };
}

/** Undefined when no source has a secret. */
function webhooksOf(values: Values["webhooks"], files: Files): WebhooksConfig | undefined {
  const secrets: Record<string, SecretSource> = {};
  const common = files.secret(values.secret, ["webhooks", "secretFile"]);
  if (common !== undefined) for (const source of webhookSources) secrets[source] = common;
  for (const source of Object.keys(values.secretFiles ?? {})) {
    const own = files.secret(undefined, ["webhooks", "secretFiles", source]);
    if (own !== undefined) secrets[source] = own;
  }
  return Object.keys(secrets).length === 0 ? undefined : { secrets, prefetch: values.prefetch };
}
