// The resolved configuration: what the rest of the program sees. Durations in milliseconds, sizes in bytes.
import type { SecretSource } from "./secret.ts";

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
      /** What the program is asked for: the registry's name in its store, usually `https://host`. */
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
  /** Longest silence between two chunks of a body. */
  readonly idleTimeout: number;
  readonly maxConnections: number;
}

export interface TagRule {
  /** Glob over `repository:tag`; `*` stops at `/`, `**` does not. First match wins. */
  readonly match: string;
  /** Infinity: never asked again. */
  readonly ttl: number;
}

export interface Config {
  readonly listen: Address;
  readonly ops: Address;
  readonly upstreams: readonly [UpstreamConfig, ...UpstreamConfig[]];
  readonly cache: {
    readonly directory: string;
    readonly maxSize: number;
    /** Fraction of maxSize an eviction pass goes down to. */
    readonly evictTo: number;
    /** Fraction of the file system kept free. */
    readonly keepFree: number;
  };
  readonly tags: { readonly ttl: number; readonly staleIfError: number; readonly rules: readonly TagRule[] };
  /** Whether `/v2/_catalog` answers. */
  readonly catalog: boolean;
  readonly drainTimeout: number;
  /** How long a draining node still accepts requests, so that load balancers see /readyz first. */
  readonly drainDelay: number;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "silent";
}
