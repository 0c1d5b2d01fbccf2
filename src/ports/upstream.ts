// A registry that is fetched from. Implementations live in src/upstream.

import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type { CallerCredentials } from "./caller-credentials.ts";
import type { CircuitStateName } from "./event.ts";
import type { Scope } from "./scope.ts";
import type {
  AccountAnswer,
  BlobAnswer,
  BlobHead,
  ManifestAnswer,
  ManifestHead,
  ReferrersAnswer,
  TagsAnswer,
} from "./upstream-answer.ts";

export const upstreamErrorCodes = [
  "unreachable",
  "timeout",
  "auth",
  "rate_limited",
  "server_error",
  "protocol",
  "redirect_refused",
  "circuit_open",
  "truncated",
  "range_refused",
  "digest_mismatch",
  "too_large",
  /** Upstream is away, and a manifest that is here names blobs that are not (`manifestsWithoutLayers: refuse`). */
  "layers_missing",
  /** This node has no file handle, port or memory left for a connection: upstream has no part in it. */
  "local",
  /** The configuration says that upstream is not asked (`offline`). */
  "offline",
  /** For this caller upstream counts as away: a drill. */
  "drill",
  /** The request is for nothing but what is held here (only-if-cached), and this is not. */
  "not_cached",
  /** Upstream says that a request came back to a mirror it had gone through (508). */
  "loop",
] as const;
export type UpstreamErrorCode = (typeof upstreamErrorCodes)[number];

/**
 * What the system says of a connection when this machine or process has run out of file handles, ports or memory
 * (socket(2), connect(2)).
 */
export const localTroubles: ReadonlySet<string> = new Set([
  "EMFILE",
  "ENFILE",
  "ENOBUFS",
  "ENOMEM",
  "EADDRNOTAVAIL",
]);

/** Upstream failed to answer, or answered what cannot be used. 403, 404 and 410 are answers, not errors. */
export class UpstreamError extends Error {
  readonly code: UpstreamErrorCode;
  /** The HTTP status upstream sent, when it sent one. */
  readonly status: number | undefined;
  /** Seconds upstream asked us to wait. */
  readonly retryAfter: number | undefined;
  constructor(
    code: UpstreamErrorCode,
    message: string,
    options?: ErrorOptions & { status?: number | undefined; retryAfter?: number | undefined },
  ) {
    super(message, options);
    this.name = "UpstreamError";
    this.code = code;
    this.status = options?.status;
    this.retryAfter = options?.retryAfter;
  }
}

/** A client wants what is held here and nothing else (only-if-cached), and it is not. */
export function notCached(upstream: string): UpstreamError {
  return new UpstreamError("not_cached", `what was asked of upstream ${upstream} is not held here`);
}

/** A transfer that gives its connection to another request that waits for one while no client waits for its own bytes. */
export interface Yielding {
  /** No client waits for the bytes any more. */
  readonly unattended: boolean;
  /** Ends the transfer: it is resumed behind the requests that wait. */
  giveWay(): void;
  /** The listener is called whenever `unattended` has changed; the result ends that. */
  onChange(listener: () => void): () => void;
}

/** A caller, for whom something is asked of an upstream. */
export interface OnBehalfOf {
  /** The same for all that one caller asks; "" for work that no caller waits for. */
  readonly key: string;
  /** It is never held back. */
  readonly exempt: boolean;
  /** Its name, once it is proved. */
  readonly user?: string | undefined;
  /** No caller waits: what is fetched for it alone comes after what callers wait for. Left out: one does. */
  readonly background?: true;
  /** Bounds what is fetched for it alone; left out: nothing does. */
  readonly pace?: Pace | undefined;
}

/** So much in a time, whichever transfer it comes by. */
export interface Pace {
  /** Bytes have come. Undefined: they may be handed on; else they wait until it resolves. Never rejects. */
  came(bytes: number): Promise<void> | undefined;
}

/** Whether nobody waits for what is asked on this behalf. */
export function isBackground({ onBehalfOf }: Pick<RemoteRepository, "onBehalfOf">): boolean {
  return onBehalfOf === undefined || onBehalfOf.background === true;
}

/** Holds a transfer back, so that others get their share of what the upstream can send. */
export interface Pacer {
  /** Bytes have come. Undefined: they may be handed on; else they wait until it resolves. Never rejects. */
  came(bytes: number): Promise<void> | undefined;
  /** The transfer is over; what waits waits no longer. Idempotent. */
  over(): void;
}

/** How a blob is asked for. */
export interface BlobAsk {
  /** "manifests" for the body of an oversize manifest; "blobs" when left out. */
  readonly endpoint?: "blobs" | "manifests";
  /**
   * "background" when nobody waits for the bytes: they come after everything clients wait for, and have fewer
   * connections.
   */
  readonly use?: "background" | undefined;
  /** Left out: the transfer keeps its connection to its end. */
  readonly yields?: Yielding | undefined;
  /** Only the bytes before this one; an upstream may send them all. */
  readonly to?: number | undefined;
  /** Left out: nothing holds the transfer back. */
  readonly pacer?: Pacer | undefined;
  /** The name of the caller that the transfer is for, where it has one. */
  readonly user?: string | undefined;
}

/** A registry this mirror fetches from. Every method rejects with UpstreamError and keeps to bounded times. */
export interface Upstream {
  /** Name for events, keys and routes. */
  readonly name: string;
  /** False while upstream is known not to answer: whatever it is asked fails at once. */
  readonly available: boolean;
  /** Why it is asked for nothing, whatever its state: every question rejects with this code. Left out: it may be asked. */
  readonly cut?: "offline" | "drill" | undefined;
  /**
   * The same upstream, asked for a client that is a mirror itself, or behind one: its questions name the ones they
   * came through, so that a circle of mirrors ends where it closes. `via`: members of Via (RFC 9110, section 7.6.3).
   * `traceparent` goes along as it is (W3C Trace Context).
   */
  forwarding(via: string | undefined, traceparent?: string): Upstream;
  /** Whose credentials it is asked with; undefined: this mirror's own. */
  readonly caller: CallerCredentials | undefined;
  /** The same upstream, asked with these credentials; undefined: with this mirror's own. */
  forCaller(caller: CallerCredentials | undefined): Upstream;
  /** Whether upstream takes the account, whatever it may read. */
  checkAccount(): Promise<AccountAnswer>;
  /** `use`: "background" when nobody waits for the answer (BlobAsk). */
  headManifest(repository: Repository, reference: Reference, use?: "background"): Promise<ManifestHead>;
  /**
   * Reads at most 4 MiB and one chunk; a larger body is `oversize`, and is the caller's to read or to throw away.
   * `accept`: the media types to ask for; left out: every type of manifest there is. `user`: the name of the caller it is for.
   */
  getManifest(
    repository: Repository,
    reference: Reference,
    accept?: string,
    user?: string,
  ): Promise<ManifestAnswer>;
  headBlob(repository: Repository, digest: Digest): Promise<BlobHead>;
  /** The signal ends the transfer. */
  openBlob(
    repository: Repository,
    digest: Digest,
    from: number,
    signal: AbortSignal,
    ask?: BlobAsk,
  ): Promise<BlobAnswer>;
  /** Most transfers one blob may come in at once; 1: always one after the other. */
  readonly segments: number;
  /** Milliseconds a round trip takes at most, as far as has been seen; undefined before the first connection. */
  readonly roundTrip: number | undefined;
  /** Whether a background transfer asked for now would have a connection at once. */
  readonly spare: boolean;
  /**
   * Share, 0 to 1, that is left of the questions about manifests and lists that upstream allows, as its last answer said; 0
   * while it wants to be left alone, 1 while it says nothing of a limit.
   */
  readonly allowance: number;
  listTags(repository: Repository, n: number | undefined, last: string | undefined): Promise<TagsAnswer>;
  /** Reads at most 4 MiB; `absent` also from registries that do not know the endpoint. */
  listReferrers(
    repository: Repository,
    digest: Digest,
    artifactType: string | undefined,
  ): Promise<ReferrersAnswer>;
}

/** A repository with the upstream that is asked about it: the scope of whatever the upstream says. */
export interface RemoteRepository extends Scope {
  readonly registry: Upstream;
  /** Who asks; undefined: no caller waits for the answer. */
  readonly onBehalfOf: OnBehalfOf | undefined;
}

/** The repository by the name it has at the upstream. */
export function remoteRepository(
  registry: Upstream,
  repository: Repository,
  onBehalfOf?: OnBehalfOf,
): RemoteRepository {
  return { upstream: registry.name, repository, registry, onBehalfOf };
}

/** Asks for a digest by the endpoint of what it is the digest of. Rejects with UpstreamError. */
export function headByDigest(
  { registry, repository }: RemoteRepository,
  digest: Digest,
  as: "blob" | "manifest",
): Promise<BlobHead | ManifestHead> {
  return as === "blob"
    ? registry.headBlob(repository, digest)
    : registry.headManifest(repository, { kind: "digest", digest });
}

/** An upstream as the rest of the program holds it. */
export type ClosableUpstream = Upstream & {
  /** Ends every transfer and closes every connection. */
  close(): Promise<void>;
  /** Requests that hold a connection now. */
  readonly active: number;
  /** Whether the upstream is asked, and when it last answered, in the clock's milliseconds. */
  readonly circuit: { readonly state: CircuitStateName };
};
