// The ports: what the cache policy needs from stores, index and upstreams. Implementations live in storage/ and
// upstream/; each port has one conformance suite in test/fixtures that every implementation runs.
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { Reference } from "../oci/reference.ts";
import type {
  BlobAnswer,
  BlobHead,
  ManifestAnswer,
  ManifestHead,
  ReferrersAnswer,
  TagsAnswer,
} from "./upstream-answer.ts";

/**
 * Milliseconds since the epoch; injected so that no policy test sleeps. As `clock` the machine's own, which may be set
 * back and forth: for records. As `steady` one that only goes forward, second by second: for every interval.
 */
export type Clock = () => number;

/** Milliseconds a record may be ahead of the clock: more than the clocks of a datacenter differ by. */
export const clockTolerance = 5 * 60_000;

/**
 * Milliseconds from `at` to `now`, both since the epoch; 0 for a record that is ahead by 5 minutes at most, and Infinity
 * for one further ahead: it was made by a clock that was wrong, or this one is, and nothing is known of its age.
 */
export function recordAge(at: number, now: number): number {
  if (at <= now) return now - at;
  return at - now <= clockTolerance ? 0 : Number.POSITIVE_INFINITY;
}

/** Waits; rejects when the signal aborts. Injected so that tests need no real time. */
export type Pause = (milliseconds: number, signal: AbortSignal) => Promise<void>;

// ---- errors ---------------------------------------------------------------------------------------------------

/** `corrupt`: what is stored under a digest is not what the digest says. */
export type StoreErrorCode = "no_space" | "io" | "unavailable" | "size_mismatch" | "closed" | "corrupt";

/** The store failed. Never used for "not there": absence is a value. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StoreError";
    this.code = code;
  }
}

export type UpstreamErrorCode =
  | "unreachable"
  | "timeout"
  | "auth"
  | "rate_limited"
  | "server_error"
  | "protocol"
  | "redirect_refused"
  | "circuit_open"
  | "truncated"
  | "range_refused"
  | "digest_mismatch"
  | "too_large"
  /** Upstream is away, and a manifest that is here names blobs that are not (`manifestsWithoutLayers: refuse`). */
  | "layers_missing"
  /** This node has no file handle, port or memory left for a connection: upstream has no part in it. */
  | "local"
  /** Upstream says that a request came back to a mirror it had gone through (508). */
  | "loop";

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

// ---- blobs ----------------------------------------------------------------------------------------------------

/** Bytes that several clients may be sent from one place in memory: nobody changes them until they are given back. */
export interface Lent {
  readonly bytes: Buffer;
  /** To be called once. Not `sent`: a socket may still be sending from it, and the memory is not used again. */
  readonly giveBack: (sent: boolean) => void;
}

/**
 * Readable bytes of one blob, complete or still being filled.
 * `read` resolves with at least one byte from `position` (0 <= position < the end the caller asked for), at most
 * `scratch.length` bytes. The result is either a view of `scratch` or memory that never changes; it is empty
 * only at the end of the blob. Rejects with StoreError, or UpstreamError when a fill fails.
 */
export interface BlobReader {
  read(position: number, scratch: Buffer): Promise<Buffer>;
  /**
   * As `read`, for at most `max` bytes that are in memory already or will be of use to others too; undefined: `read` them.
   */
  lend?(position: number, max: number): Promise<Lent | undefined> | undefined;
  /**
   * Resolves when `read` has something to give at `position`, if only the end; rejects as it does. A hundred clients
   * that wait for one fill then hold no buffers. Readers that are complete do not have it.
   */
  arrived?(position: number): Promise<void>;
  /** Releases what the reader holds; idempotent. */
  close(): Promise<void>;
}

export interface StoredBlob extends BlobReader {
  readonly size: number;
}

/** What is known of the first bytes of a blob that are kept for a later fill. They are unverified. */
export interface KeptRecord {
  readonly digest: Digest;
  /** Where every one of the bytes came from. */
  readonly upstream: string;
  /** Bytes of the whole blob, as that upstream announced. */
  readonly size: number;
  /** Hex of the hash of the bytes that are kept, by the digest's algorithm. */
  readonly hash: string;
  /** When the last of them came, in milliseconds since the epoch; left out: now. */
  readonly at?: number;
}

export interface KeptBlob {
  readonly record: KeptRecord;
  /** Has written what was kept, which may have changed since: `record.hash` tells. */
  readonly writer: BlobWriter;
}

/**
 * The spool of one blob under way. Bytes become visible in the store only through `commit`; exactly one of
 * commit, keep and abort is called, and abort is idempotent.
 */
export interface BlobWriter {
  /** Bytes appended so far, all readable through `read`. */
  readonly written: number;
  /** Appends the buffers in order, as one write. One call at a time. Rejects with StoreError, after which only
   * what `written` says counts. */
  append(buffers: readonly Buffer[]): Promise<void>;
  /** Reads appended bytes into `scratch`: at least one when position < written. Safe beside `append`. */
  read(position: number, scratch: Buffer): Promise<Buffer>;
  /** Makes the bytes durable (fsync) and visible under `digest`. The caller has verified the digest; `size` must
   * equal `written`, else StoreError size_mismatch. Readers of this writer stay valid until `release`. */
  commit(digest: Digest, size: number): Promise<void>;
  /**
   * Keeps what is written for `BlobStore.resume`, in place of what was kept of this digest before. It stays within the
   * store's bounds, and may be gone at any time. Rejects with StoreError; it is then thrown away.
   */
  keep(record: KeptRecord): Promise<void>;
  /** Throws the bytes away. */
  abort(): Promise<void>;
  /** Closes the descriptor followers read through, after commit, keep or abort. Idempotent. */
  release(): Promise<void>;
}

export interface BlobInfo {
  readonly digest: Digest;
  readonly size: number;
  /** Last modification, milliseconds since the epoch. */
  readonly modifiedAt: number;
}

/** Verified blobs by digest. Everything rejects with StoreError on failure. */
export interface BlobStore {
  /** Name for events: where bytes read from here came from. */
  readonly source: "disk" | "s3";
  /** Undefined when the blob is not here. The reader stays valid when the blob is deleted meanwhile. */
  open(digest: Digest): Promise<StoredBlob | undefined>;
  /** Starts a spool. `size` is a hint for refusing early when there is no room. */
  create(size?: number): Promise<BlobWriter>;
  /** Bytes one writer may keep at most. */
  readonly mostKept: number;
  /**
   * Takes up what was kept of the digest from this upstream in the last hour. Undefined when nothing was, or it is no
   * longer what was kept.
   */
  resume(digest: Digest, upstream: string): Promise<KeptBlob | undefined>;
  /** True when something was removed. */
  delete(digest: Digest): Promise<boolean>;
  /**
   * Takes bytes that are not the digest's out of reach of `open` and `list`. They are kept for whoever looks into it, as
   * far as there is room for such. True when there was something. Readers keep what they have open.
   */
  quarantine(digest: Digest): Promise<boolean>;
  /** Every stored blob, in no order. */
  list(): AsyncIterable<BlobInfo>;
  /** Bytes that are in spools, also in those kept, and in those thrown away that are still read. */
  readonly spoolBytes: number;
}

// ---- index ----------------------------------------------------------------------------------------------------

/** The only mutable thing in the cache. Times in milliseconds since the epoch. */
export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** When upstream last confirmed that the tag names this digest. */
  readonly checkedAt: number;
}

export interface TagStore {
  get(upstream: string, repository: Repository, tag: Tag): Promise<TagRecord | undefined>;
  /** False, and nothing written, when the stored record's `checkedAt` is later than the new one's. */
  put(upstream: string, repository: Repository, tag: Tag, record: TagRecord): Promise<boolean>;
  delete(upstream: string, repository: Repository, tag: Tag): Promise<void>;
}

/** A blob of a repository, with the size a descriptor states. */
export interface LinkedBlob {
  readonly digest: Digest;
  readonly size: number | undefined;
  /** Only a manifest of the repository names it: upstream itself has neither sent the blob nor said that it is there. */
  readonly named?: true;
}

/**
 * Where what a manifest names is a right to read. `own`: where upstream has shown the blob in one of its repositories,
 * so that a manifest proves nothing of bytes that came from elsewhere. `shared`: everywhere, for upstreams that are
 * trusted alike.
 */
export type Proofs = "own" | "shared";

/** Which repository is known to contain which digest. */
export interface LinkStore {
  /** Whether there is a link that counts: one that upstream has shown, or one that `Proofs` makes as good. */
  has(upstream: string, repository: Repository, digest: Digest): Promise<boolean>;
  /** Whether there is a link on this node, if only because a manifest names the digest. */
  named(upstream: string, repository: Repository, digest: Digest): Promise<boolean>;
  /**
   * Links all digests in one transaction; known links are left as they are (a size is filled in when missing, and
   * what was named may be shown).
   */
  add(upstream: string, repository: Repository, blobs: readonly LinkedBlob[]): Promise<void>;
  /** Upstream no longer has the digest in this repository. */
  remove(upstream: string, repository: Repository, digest: Digest): Promise<void>;
  /**
   * The size a descriptor of this repository stated for the digest; where none did, that of another repository's may be
   * given. Undefined when nobody did. It proves nothing: manifests may lie.
   */
  statedSize(upstream: string, repository: Repository, digest: Digest): Promise<number | undefined>;
}

/** Links that this node has for itself, which end by themselves too: with what they name, by age, at a bound. */
export interface OwnLinks extends LinkStore {
  /** `ended` is told of each link that ends so. It must not throw. */
  onEnd(ended: (upstream: string, repository: Repository, digest: Digest) => void): void;
}

/**
 * What upstream said of a repository besides manifests and blobs: a list of tags or referrers, or that it has none.
 * Clients ask for the referrers of what they pull, and fail on any answer but 200 and 404 (docker since 29.1), so an
 * outage must find what was said before it.
 */
export interface StoredAnswer {
  /** The list, as whoever put it wrote it; undefined: upstream does not have it. */
  readonly content: Buffer | undefined;
  /** When the registry said so. */
  readonly at: number;
}

/** Answers on disk. Bounded: the oldest go first, those about no manifest before the others. Throws StoreError. */
export interface AnswerStore {
  /** `key` tells the answers about one repository apart; it is at most 1,024 characters. */
  get(upstream: string, repository: Repository, key: string): StoredAnswer | undefined;
  /**
   * `subject`: the manifest the answer is about. It is forgotten with that manifest, and not kept when the manifest is
   * not here or not known to be in the repository: clients may ask about anything. At most 16 for one subject.
   */
  put(
    upstream: string,
    repository: Repository,
    key: string,
    subject: Digest | undefined,
    answer: StoredAnswer,
  ): void;
  delete(upstream: string, repository: Repository, key: string): void;
  /** Something has been written to the repository: what it lacked is forgotten, and no list is newer than `before`. */
  expire(upstream: string, repository: Repository, before: number): void;
}

export interface IndexedBlob {
  readonly size: number;
  /** Only of manifests. */
  readonly mediaType: string | undefined;
  /**
   * When the stored bytes were last hashed: as they came, or since. Undefined: the file was found and nobody has, or it is
   * as young as what a crash may have torn.
   */
  readonly checkedAt: number | undefined;
}

/** What is in the blob store: sizes, media types of manifests, order of last use. Rebuildable from the store. */
export interface BlobIndex {
  /**
   * `mediaType` only for manifests; `checkedAt` only when all of the bytes were hashed then. Adding a known digest updates
   * last use and, when given, the other two.
   */
  add(digest: Digest, size: number, mediaType: string | undefined, usedAt: number, checkedAt?: number): void;
  get(digest: Digest): IndexedBlob | undefined;
  /** The stored bytes were hashed, and are what the digest says. */
  checked(digest: Digest, at: number): void;
  /** Those nobody has hashed here first, then the longest ago; at most `limit`. */
  longestUnchecked(
    limit: number,
  ): readonly { readonly digest: Digest; readonly size: number; readonly checkedAt: number | undefined }[];
  /** The size manifests state for this digest; undefined when none that is known here does. */
  statedSize(digest: Digest): number | undefined;
  /** When the blob was last used, in milliseconds since the epoch; undefined when it is not here. */
  usedAt(digest: Digest): number | undefined;
  /** Cheap: remembered in memory, written in batches. */
  touch(digest: Digest, usedAt: number): void;
  remove(digest: Digest): void;
  /** Removes them in one write, except those added or used anew since `oldest` named them. */
  removeUnused(blobs: readonly { readonly digest: Digest; readonly usedAt: number }[]): Promise<void>;
  /** Least recently used first; at most `limit`. */
  oldest(
    limit: number,
  ): readonly { readonly digest: Digest; readonly size: number; readonly usedAt: number }[];
  totals(): { readonly bytes: number; readonly count: number };
  /** Bytes the index itself takes, beyond what a small one does. */
  ownBytes(): number;
  /** Images (manifests) that name `digest`; for counting what an eviction orphans. */
  manifestsNaming(digest: Digest): number;
  /** Records that manifest `digest` names `children`, of the sizes it states. */
  setChildren(digest: Digest, children: readonly LinkedBlob[]): void;
  /** Repositories of `upstream` with a linked blob that is here, in ASCII order, after `last`, at most `limit`. */
  repositories(upstream: string, last: string | undefined, limit: number): readonly Repository[];
}

/** What this node knows of how the digests of a repository hang together. */
export interface ImageGraph {
  /** Tags of the repository whose record names the digest; at most `limit`. */
  tagsNaming(upstream: string, repository: Repository, digest: Digest, limit: number): readonly string[];
  /** Manifests here that name the digest and that the repository is linked to; at most `limit`. */
  parentsIn(upstream: string, repository: Repository, digest: Digest, limit: number): readonly Digest[];
}

// ---- upstream -------------------------------------------------------------------------------------------------

/** A transfer that gives its connection to whoever waits for one while nobody waits for its own bytes. */
export interface Yielding {
  /** Whoever waited for the bytes has gone. */
  readonly unattended: boolean;
  /** Ends the transfer: it is taken up again, behind those who wait. */
  giveWay(): void;
  /** The listener is called whenever `unattended` has changed; the result ends that. */
  onChange(listener: () => void): () => void;
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
}

/** A registry this mirror fetches from. Every method rejects with UpstreamError and keeps to bounded times. */
export interface Upstream {
  /** Name for events, keys and routes. */
  readonly name: string;
  /** False while upstream is known not to answer: whatever it is asked fails at once. */
  readonly available: boolean;
  /**
   * The same upstream, asked for a client that is a mirror itself, or behind one: its questions name the ones they
   * came through, so that a circle of mirrors ends where it closes. `via`: members of Via (RFC 9110, section 7.6.3).
   * `traceparent` goes along as it is (W3C Trace Context).
   */
  forwarding(via: string | undefined, traceparent?: string): Upstream;
  headManifest(repository: Repository, reference: Reference): Promise<ManifestHead>;
  /** Reads at most 4 MiB and one chunk; a larger body is `oversize`, and is the caller's to read or to throw away. */
  getManifest(repository: Repository, reference: Reference): Promise<ManifestAnswer>;
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
  listTags(repository: Repository, n: number | undefined, last: string | undefined): Promise<TagsAnswer>;
  /** Reads at most 4 MiB; `absent` also from registries that do not know the endpoint. */
  listReferrers(
    repository: Repository,
    digest: Digest,
    artifactType: string | undefined,
  ): Promise<ReferrersAnswer>;
}

/** Asks for a digest by the endpoint of what it is the digest of. Rejects with UpstreamError. */
export function headByDigest(
  upstream: Pick<Upstream, "headBlob" | "headManifest">,
  repository: Repository,
  digest: Digest,
  as: "blob" | "manifest",
): Promise<BlobHead | ManifestHead> {
  return as === "blob"
    ? upstream.headBlob(repository, digest)
    : upstream.headManifest(repository, { kind: "digest", digest });
}
