// The resolved configuration: what the rest of the program sees. Durations in milliseconds, sizes in bytes.
import type { Secret, SecretSource } from "./secret.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

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

export interface UpstreamConfig {
  /** Name for events, cache keys and the path prefix `/<name>/v2/`. */
  readonly name: string;
  /** http or https; may have a path, kept as it is without a trailing slash. No query, fragment or credentials. */
  readonly url: URL;
  readonly auth: UpstreamAuth;
  /** Hosts (`host`, or `host:port`) that may hand out tokens besides those on upstream's registrable domain. */
  readonly tokenRealms: readonly string[];
  readonly connectTimeout: number;
  /** From the request's last byte to the answer's headers. */
  readonly firstByteTimeout: number;
  /**
   * The same for manifests and for whether a blob is there, which registries answer without fetching anything: a hung
   * upstream is found out sooner. Never longer than firstByteTimeout; left out: 10 s.
   */
  readonly manifestTimeout?: number | undefined;
  /** Longest silence between two chunks of a body. */
  readonly idleTimeout: number;
  readonly maxConnections: number;
  /** Most transfers one blob may come in at once; 1: one. */
  readonly segments: number;
  /** For https; left out: what Node trusts, and no certificate of our own. */
  readonly tls?: TlsConfig | undefined;
  /** Left out: nothing is listed. */
  readonly redirects?: RedirectsConfig | undefined;
  /** Put before every repository when asking this upstream (Artifactory's repository-path method); "" for none. */
  readonly repositoryPrefix: string;
  readonly routing: RoutingConfig;
  /** Overrides the TTL and goes before the rules of `tags`. */
  readonly tags: { readonly ttl: number | undefined; readonly rules: readonly TagRule[] };
  /** Whether writes are passed on; else they are 405. */
  readonly push: boolean;
}

export interface TlsConfig {
  /** Certificates in PEM of authorities trusted besides those of the system. */
  readonly ca?: string | undefined;
  /** Our certificate and its key in PEM, for upstreams that ask who connects; both or neither. */
  readonly cert?: string | undefined;
  readonly key?: Secret | undefined;
  /** Name sent as SNI and looked for in upstream's certificate, instead of the URL's host. */
  readonly serverName?: string | undefined;
}

/** Where upstream may redirect the download of a blob to. */
export interface RedirectsConfig {
  /** Hosts, IP addresses and CIDR networks that may be reached although they are not public. */
  readonly allowPrivate: readonly string[];
}

/** How clients name an upstream, and what they may ask of it; see http/routing.ts. */
export interface RoutingConfig {
  readonly component: string | undefined;
  readonly namespaces: readonly string[];
  readonly hosts: readonly string[];
  readonly library: boolean;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly next:
    | { readonly name: string; readonly onAbsent: boolean; readonly onFailure: boolean }
    | undefined;
}

export interface TagRule {
  /** Glob over `repository:tag`; `*` stops at `/`, `**` does not. First match wins. */
  readonly match: string;
  /** Infinity: never asked again. */
  readonly ttl: number;
}

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

export interface NodeConfig {
  /** Name for people, in logs. */
  readonly name: string;
  /** Origin, such as `http://10.0.0.7:5000`, under which the other nodes reach this one. */
  readonly address: string | undefined;
}

/** An IPv6 client is all of its /64. */
export interface LimitsConfig {
  /** Answers open at once. */
  readonly openAnswers: number;
  /** Fills of one upstream waited for at once. */
  readonly coldFills: number;
  /** Writes passed on to one upstream at once. */
  readonly writes: number;
  /** Requests that wait for one of these, each. */
  readonly waiting: number;
  /** Addresses and CIDR networks of clients without limits. */
  readonly exempt: readonly string[];
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

/** Files with a line of InfluxDB's line protocol for every request. */
export interface InfluxConfig {
  readonly directory: string;
  /** Bytes at which a file is set aside. */
  readonly maxFileSize: number;
  /** Files set aside that are kept. */
  readonly keep: number;
}

/** See telemetry/notification-endpoint.ts for what each of them does. */
export interface NotificationEndpointConfig {
  readonly name: string;
  readonly url: URL;
  /** `file`: the path the value comes from, when it does not stand in the configuration. */
  readonly headers: readonly {
    readonly name: string;
    readonly value: SecretSource;
    readonly file: string | undefined;
  }[];
  readonly timeout: number;
  readonly threshold: number;
  readonly backoff: number;
  readonly mediaType: "v1" | "v2";
  readonly ignore: { readonly actions: readonly string[]; readonly mediaTypes: readonly string[] };
  readonly headRequests: boolean;
}

export interface WebhooksConfig {
  /** By source; one without a secret takes nothing. */
  readonly secrets: Readonly<Record<string, SecretSource>>;
  /** The paths of those that have a file of their own, by source. */
  readonly files: Readonly<Record<string, string>>;
  /** Whether a pushed tag that has been pulled through here is fetched at once. */
  readonly prefetch: boolean;
}

export interface Config {
  readonly listen: Address;
  readonly ops: Address;
  /** Host names of this machine under which the status page answers besides those it knows; left out: none. */
  readonly opsHosts?: readonly string[] | undefined;
  /** Addresses and CIDR networks of proxies that are believed about the client's address; left out: none. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** What one client may have at once; see http/client-limits.ts. Left out: its defaults, for everybody. */
  readonly limits?: LimitsConfig | undefined;
  readonly node: NodeConfig;
  /** Undefined: this node shares nothing. */
  readonly redis?: RedisConfig | undefined;
  readonly upstreams: readonly [UpstreamConfig, ...UpstreamConfig[]];
  readonly cache: {
    readonly directory: string;
    readonly maxSize: number;
    /** Fraction of maxSize an eviction pass goes down to. */
    readonly evictTo: number;
    /** Fraction of the file system kept free. */
    readonly keepFree: number;
    /** Milliseconds in which everything stored is hashed again; 0: never. */
    readonly scrub: number;
  };
  readonly tags: { readonly ttl: number; readonly staleIfError: number; readonly rules: readonly TagRule[] };
  /** Left out: nothing is shared with other nodes but what upstream has. */
  readonly s3?: S3Config | undefined;
  /** Whether `/v2/_catalog` answers. */
  readonly catalog: boolean;
  /** What is done with the manifest of an image that cannot be pulled whole because its upstream is away. */
  readonly manifestsWithoutLayers: "serve" | "refuse";
  /** Whether a manifest of one upstream gives the right to bytes that came from another; see cache/ports.ts. */
  readonly proofs: "own" | "shared";
  /** Whether answers carry Cache-Status. */
  readonly cacheStatus: boolean;
  readonly drainTimeout: number;
  /** How long a draining node still accepts requests, so that load balancers see /readyz first. */
  readonly drainDelay: number;
  /** Who is told of pulls and pushes; left out: nobody. */
  readonly notifications?: { readonly endpoints: readonly NotificationEndpointConfig[] } | undefined;
  /** Left out: no webhook is taken. */
  readonly webhooks?: WebhooksConfig | undefined;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "silent";
  /** What a request's line looks like; all other lines are JSON. */
  readonly logFormat: "json" | "combined";
  /** Undefined: no such files. */
  readonly influx?: InfluxConfig | undefined;
  /** Whether answers carry Server-Timing, and Via. */
  readonly serverTiming: boolean;
  readonly via: boolean;
}
