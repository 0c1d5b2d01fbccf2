// Stored bytes by their digest. One conformance suite in test/fixtures runs on every implementation.
import type { Digest } from "../oci/digest.ts";
import type { ByteRange } from "../oci/range.ts";

export const storeErrorCodes = [
  "no_space",
  "io",
  "unavailable",
  "size_mismatch",
  "closed",
  /** What is stored under a digest is not what the digest says. */
  "corrupt",
] as const;
export type StoreErrorCode = (typeof storeErrorCodes)[number];

/** The store failed. Never used for "not there": absence is a value. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StoreError";
    this.code = code;
  }
}

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
  /**
   * Of a blob on its way: how another process can read its bytes itself. Resolves with undefined when they are in no
   * file. Readers that are complete do not have it.
   */
  spooled?(): Promise<Spooled | undefined>;
  /**
   * The ranges that are going to be read and no other byte, to be told before the first one is: bytes that would come late
   * may then be fetched before others. Readers that are complete do not have it.
   */
  expect?(ranges: readonly ByteRange[]): void;
  /** Releases what the reader holds; idempotent. */
  close(): Promise<void>;
}

/** A file with the first bytes of a blob on its way. */
export interface Spooled {
  /** Its path until the blob is committed. Who has it open can read on. */
  readonly file: string;
  /** All of the blob is in it, and is verified. */
  readonly whole: boolean;
  /**
   * Resolves with the number of bytes that may be read, once that is more than `seen`; with undefined when no more will
   * come into the file. Rejects as `read` does.
   */
  more(seen: number): Promise<number | undefined>;
}

export interface StoredBlob extends BlobReader {
  readonly size: number;
}

/**
 * All bytes of a blob of `size` bytes, which the caller has bounded; fewer when the blob ends early. Rejects as `read`
 * does. The caller closes the reader.
 */
export async function readWhole(reader: Pick<BlobReader, "read">, size: number): Promise<Buffer> {
  // Memory of its own, not a slice of the shared pool: the body may stay for long, and `read` may hand out views.
  const body = Buffer.allocUnsafeSlow(size);
  let position = 0;
  while (position < size) {
    const chunk = await reader.read(position, body.subarray(position));
    if (chunk.length === 0) break;
    if (chunk.buffer !== body.buffer) chunk.copy(body, position);
    position += chunk.length;
  }
  return body.subarray(0, position);
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
  /** Path of the file they are in, while they are not committed; left out: they are in none. */
  readonly file?: string | undefined;
  /** Appends the buffers in order, as one write. One call at a time. Rejects with StoreError, after which only
   * what `written` says counts. */
  append(buffers: readonly Buffer[]): Promise<void>;
  /**
   * Writes bytes of the blob at `position`, which is not before `written`: what is between is a hole. They do not count as
   * written, and `append` is still to bring them. Calls for different places may run beside each other and beside `append`.
   * Rejects with StoreError, after which these bytes are not to be read.
   */
  writeAt(position: number, buffers: readonly Buffer[]): Promise<void>;
  /** Where the furthest byte ends, written or not: at least `written`, and at least what the spool takes of the disk. */
  readonly extent: number;
  /**
   * Reads into `scratch`: at least one byte when position < written. Beyond `written` only what `writeAt` has brought is to
   * be asked for. Safe beside `append` and `writeAt`.
   */
  read(position: number, scratch: Buffer): Promise<Buffer>;
  /** Makes the bytes durable (fsync) and visible under `digest`. The caller has verified the digest; `size` must
   * equal `written`, else StoreError size_mismatch. Readers of this writer stay valid until `release`. */
  commit(digest: Digest, size: number): Promise<void>;
  /**
   * Keeps what is written, and nothing beyond it, for `BlobStore.resume`, in place of what was kept of this digest before.
   * It stays within the store's bounds, and may be gone at any time. Rejects with StoreError; it is then thrown away.
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
