// Blobs and manifests of this node: small bodies in memory, everything else in the store, sizes and media types in the
// index. When the store or the index fails a notice is sent, the blob counts as absent, and the caller asks upstream.
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { type Digest, digestAlgorithm, digestHex } from "../oci/digest.ts";
import { largestManifest, type Manifest, readManifest } from "../oci/manifest.ts";
import {
  type BlobReader,
  type BlobStore,
  type BlobWriter,
  type KeptBlob,
  readWhole,
  type StoredBlob,
  StoreError,
} from "../ports/blobs.ts";
import { type Clock, type Pause, recordAge } from "../ports/clock.ts";
import type { BitRotFinder, NoticeSink, Source } from "../ports/event.ts";
import type { BlobIndex, IndexedBlob } from "../ports/records.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import { currentSpan, endedBy } from "../ports/tracing/span.ts";
import { BlobChecks, type CheckResult } from "./blob-checks.ts";
import { holdBack } from "./fill/range-plan.ts";
import { bodyBytes } from "./memory-size.ts";
import { PurgedBlobs } from "./purge/purged-blobs.ts";
import { StoredReaders, wrongBytes } from "./stored-readers.ts";

/** Blobs up to this size are kept in memory after their first read: configs and small layers. */
const smallBlob = 64 * 1024;
/** A blob that was never hashed here is hashed before its head is sent up to this size; a larger one while it is sent. */
const checkedFirst = 256 * 1024 * 1024;

export interface LocalBlobsOptions {
  readonly store: BlobStore;
  readonly index: BlobIndex;
  /** See Eviction.makeRoomFor and Eviction.mayGrow. */
  readonly makeRoomFor: (size: number | undefined) => Promise<boolean>;
  readonly mayGrow: (bytes: number) => Promise<boolean>;
  /** Frees room for `bytes`; resolves when done or when nothing more can be evicted. */
  readonly makeRoom: (bytes: number) => Promise<void>;
  /** Called before a spool is made and after every commit. */
  readonly grown: () => void;
  /** Bytes of small blobs and manifests kept in memory. */
  readonly memoryBytes: number;
  /**
   * Milliseconds after which stored bytes are hashed again when they are sent to a client as a whole; left out: never.
   * Read at every use.
   */
  readonly recheckAfter?: () => number;
  /** See BlobChecksOptions; left out: nothing is fetched. */
  readonly refetch?: (digest: Digest, mediaType: string | undefined) => void;
  /** What is stored has proved wrong: whoever reads it elsewhere gets no more of it. Must not throw. */
  readonly wrong?: (digest: Digest) => void;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

/** What a blob is opened for: all of its bytes, some of them, or only to learn whether it is here and how large it is. */
export type BlobUse = "whole" | "part" | "probe";

export interface LocalBlob {
  readonly source: Source;
  readonly size: number;
  /** To be closed by the caller that opened it. */
  readonly reader: BlobReader;
  /** All of a small blob, which never changes. */
  readonly body?: Buffer;
  /** The bytes may be sent as they are: none waits for a check. */
  readonly plain: boolean;
}

export interface LocalManifest {
  readonly source: Source;
  readonly body: Buffer;
  readonly mediaType: string;
}

interface HeldBody {
  readonly body: Buffer;
  /** Only for manifests. */
  readonly mediaType: string | undefined;
}

/** A check of the stored bytes. `first`: nothing is sent before its result; otherwise the last bytes are held back for it. */
interface Gate {
  readonly first: boolean;
  readonly result: Promise<CheckResult>;
}

export class LocalBlobs {
  /** Checks whether what is stored is right. */
  readonly checks: BlobChecks;
  /** What was deleted by `purge`. */
  readonly purged: PurgedBlobs;
  readonly #options: LocalBlobsOptions;
  readonly #memory: LRUCache<Digest, HeldBody>;
  readonly #readers: StoredReaders;

  constructor(options: LocalBlobsOptions) {
    this.#options = options;
    this.purged = new PurgedBlobs(options.clock);
    this.#memory = new LRUCache({
      maxSize: options.memoryBytes,
      sizeCalculation: ({ body }) => bodyBytes(body),
    });
    // Part of the disk cannot be read. A failed check takes the blob out, and it is fetched from upstream again.
    this.#readers = new StoredReaders((digest) => void this.checks.check(digest, "read"));
    this.checks = new BlobChecks({
      ...options,
      wrong: (digest) => {
        this.#readers.cut(digest);
        options.wrong?.(digest);
      },
      repair: (digest) => this.#repair(digest),
      refetch: (digest, mediaType) => options.refetch?.(digest, mediaType),
    });
  }

  /** Opens a blob; undefined when it is not here, is not what its digest says, or the store fails. */
  async open(digest: Digest, use: BlobUse = "whole"): Promise<LocalBlob | undefined> {
    const { index } = this.#options;
    const held = this.#memory.get(digest);
    if (held !== undefined) {
      this.#touch(digest);
      return inMemory("memory", held.body);
    }
    if (this.checks.isBlocked(digest)) return undefined;
    try {
      const known = index.get(digest);
      const blob = await this.#openStored(digest);
      if (blob !== undefined) return await this.#opened(digest, blob, known, use);
      if (known !== undefined) index.remove(digest);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("open", error));
    }
    return undefined;
  }

  /** Takes over an open blob: a small one goes to memory; one of another size than the index has is wrong. */
  async #opened(
    digest: Digest,
    blob: StoredBlob,
    known: IndexedBlob | undefined,
    use: BlobUse,
  ): Promise<LocalBlob | undefined> {
    const { store, index, clock } = this.#options;
    const { size } = blob;
    const reader = this.#readers.add(digest, blob);
    let open = true;
    try {
      if (known !== undefined && known.size !== size) return await this.#found(digest, "open", size);
      if (known === undefined) index.add(digest, size, undefined, clock());
      else this.#touch(digest);
      if (size > smallBlob) {
        const gate = this.#gate(digest, size, known, use);
        if (gate?.first === true && (await gate.result) !== "sound") return undefined;
        open = false;
        const held = gate === undefined || gate.first ? reader : heldBack(digest, reader, size, gate.result);
        return { source: store.source, size, reader: held, plain: held === reader };
      }
      const asOf = this.purged.count;
      const body = await this.#readVerified(digest, blob, size, known);
      if (body === undefined) return undefined;
      this.#remember(digest, { body, mediaType: known?.mediaType }, asOf);
      return inMemory(store.source, body);
    } finally {
      if (open) await reader.close();
    }
  }

  /** Undefined for bytes that may be sent without a check, which is nearly always. */
  #gate(digest: Digest, size: number, known: IndexedBlob | undefined, use: BlobUse): Gate | undefined {
    if (known?.checkedAt !== undefined) {
      if (use !== "whole" || !this.#overdue(known.checkedAt)) return undefined;
      return { first: false, result: this.checks.check(digest, "read") };
    }
    const stated = this.#options.index.statedSize(digest);
    if (use === "probe" && stated === size && size > checkedFirst) return undefined;
    // Sizes in a manifest may be wrong too: the digest decides.
    const first = use !== "whole" || size <= checkedFirst || (stated !== undefined && stated !== size);
    return { first, result: this.checks.check(digest, "read") };
  }

  #overdue(checkedAt: number): boolean {
    const { recheckAfter, clock } = this.#options;
    return recheckAfter !== undefined && recordAge(checkedAt, clock()) > recheckAfter();
  }

  #openStored(digest: Digest): Promise<StoredBlob | undefined> {
    const opening = this.#options.store.open(digest);
    const span = currentSpan()?.child("disk open", { "entrepot.digest": digest });
    return span === undefined ? opening : endedBy(span, opening);
  }

  /** Whether the index has the digest; false when the index fails. */
  indexed(digest: Digest): boolean {
    return this.sizeOf(digest) !== undefined;
  }

  /** Bytes of a blob that the index knows; undefined for others. */
  sizeOf(digest: Digest): number | undefined {
    if (this.checks.isBlocked(digest)) return undefined;
    try {
      return this.#options.index.get(digest)?.size;
    } catch (error) {
      this.#options.notices(noticeOfStoreError("index.get", error));
      return undefined;
    }
  }

  /**
   * A manifest body with its media type; undefined when it is not here, not known to be a manifest, or the store
   * fails. The body is verified when it is read from the disk, and removed when it is wrong.
   */
  async manifest(digest: Digest): Promise<LocalManifest | undefined> {
    const held = this.heldManifest(digest);
    if (held !== undefined) return held;
    const { index, store } = this.#options;
    const asOf = this.purged.count;
    try {
      const known = index.get(digest);
      if (known?.mediaType === undefined || known.size > largestManifest) return undefined;
      const blob = await this.#openStored(digest);
      if (blob === undefined) {
        index.remove(digest);
        return undefined;
      }
      const body = await this.#readVerified(digest, blob, known.size, known).finally(() => blob.close());
      if (body === undefined) return undefined;
      this.#remember(digest, { body, mediaType: known.mediaType }, asOf);
      this.#touch(digest);
      return { body, mediaType: known.mediaType, source: store.source };
    } catch (error) {
      this.#options.notices(noticeOfStoreError("manifest", error));
      return undefined;
    }
  }

  /** The same, from memory alone. */
  heldManifest(digest: Digest): LocalManifest | undefined {
    const held = this.#memory.get(digest);
    if (held?.mediaType === undefined) return undefined;
    this.#touch(digest);
    return { body: held.body, mediaType: held.mediaType, source: "memory" };
  }

  /** Whether memory holds all of it. Counts as no use. */
  inMemory(digest: Digest): boolean {
    return this.#memory.has(digest);
  }

  /**
   * Stores a verified manifest body. When the store fails a notice is sent, and only memory holds the body. False for one that
   * was purged since `asOf`, by the count of `purged`: it is not kept.
   */
  async putManifest(
    digest: Digest,
    body: Buffer,
    { mediaType, children, subject }: Pick<Manifest, "mediaType" | "children" | "subject">,
    asOf = this.purged.count,
  ): Promise<boolean> {
    if (this.purged.hasSince(digest, asOf)) return false;
    this.#memory.set(digest, { body, mediaType });
    try {
      if (!(await this.#store(digest, body))) return true;
      if (this.purged.hasSince(digest, asOf)) {
        await this.purge(digest);
        return false;
      }
      this.#options.index.setChildren(digest, children, subject);
      this.committed(digest, body.length, mediaType);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("put_manifest", error));
    }
    return true;
  }

  /**
   * Deletes the blob, from memory and the disk, whoever reads it: they keep what they have open. What is to bring none of it back has
   * to be in `purged` before. Rejects with StoreError.
   */
  async purge(digest: Digest): Promise<void> {
    const { store, index } = this.#options;
    this.#memory.delete(digest);
    await store.delete(digest);
    index.remove(digest);
    this.#memory.delete(digest);
  }

  /** Throws away what earlier fills have kept of the blob from this upstream. */
  async purgeKept(digest: Digest, upstream: string): Promise<void> {
    const kept = await this.#options.store.resume(digest, upstream);
    await kept?.writer.abort().finally(() => kept.writer.release());
  }

  /** False for a body that is larger than the whole cache. Rejects with StoreError. */
  async #store(digest: Digest, body: Buffer): Promise<boolean> {
    const writer = await this.spool(body.length);
    if (writer === undefined) return false;
    try {
      await writer.append([body]);
      await writer.commit(digest, body.length);
      return true;
    } catch (error) {
      await writer.abort();
      throw error;
    } finally {
      await writer.release();
    }
  }

  /**
   * A spool for a blob of `size` bytes; undefined for one that cannot fit, for which nothing is evicted. When there is no
   * room, one eviction pass makes some. A blob of unknown size may take what is free: its `append` then rejects with
   * StoreError no_space. Rejects with StoreError.
   */
  async spool(size: number | undefined): Promise<BlobWriter | undefined> {
    const { makeRoomFor, grown } = this.#options;
    if (!(await makeRoomFor(size))) return undefined;
    grown();
    const writer = await this.#create(size);
    return size === undefined ? this.#growing(writer) : writer;
  }

  /** Bytes of an unfinished blob that can be kept for a later fill at most. */
  get mostKept(): number {
    return this.#options.store.mostKept;
  }

  /**
   * What was kept of the blob from this upstream, when there is room for the rest of it; undefined also when the store
   * fails. The caller owns the writer.
   */
  async resume(digest: Digest, upstream: string): Promise<KeptBlob | undefined> {
    const { store, makeRoomFor, grown, notices } = this.#options;
    try {
      const kept = await store.resume(digest, upstream);
      if (kept === undefined) return undefined;
      const { record, writer } = kept;
      const fits = await makeRoomFor(record.size - writer.written).catch(() => false);
      if (fits) {
        grown();
        return kept;
      }
      await writer.abort().finally(() => writer.release());
    } catch (error) {
      notices(noticeOfStoreError("resume", error));
    }
    return undefined;
  }

  async #create(size: number | undefined): Promise<BlobWriter> {
    const { store, makeRoom } = this.#options;
    try {
      return await store.create(size);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "no_space") throw error;
      await makeRoom(size ?? 0);
      return await store.create(size);
    }
  }

  #growing(writer: BlobWriter): BlobWriter {
    return {
      get written() {
        return writer.written;
      },
      file: writer.file,
      append: async (buffers) => {
        const bytes = buffers.reduce((sum, { length }) => sum + length, 0);
        if (!(await this.#options.mayGrow(bytes)))
          throw new StoreError("no_space", "no more room for a blob of unknown size");
        await writer.append(buffers);
      },
      // Of a blob of unknown size no range can be asked for.
      writeAt: (position, buffers) => writer.writeAt(position, buffers),
      get extent() {
        return writer.extent;
      },
      read: (position, scratch) => writer.read(position, scratch),
      commit: (digest, size) => writer.commit(digest, size),
      keep: (record) => writer.keep(record),
      abort: () => writer.abort(),
      release: () => writer.release(),
    };
  }

  /** Bytes in spools, of running fills and of what earlier ones left. */
  get spoolBytes(): number {
    return this.#options.store.spoolBytes;
  }

  /** Records a blob that the store has just committed; its bytes were hashed as they came. */
  committed(digest: Digest, size: number, mediaType: string | undefined): void {
    this.checks.stored(digest);
    try {
      const now = this.#options.clock();
      this.#options.index.add(digest, size, mediaType, now, now);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("index.add", error));
    }
    this.#options.grown();
  }

  /** Whether a client is reading the stored blob now. */
  beingRead(digest: Digest): boolean {
    return this.#readers.has(digest);
  }

  /** The stored blobs that clients are reading now. */
  get beingReadNow(): Iterable<Digest> {
    return this.#readers.digests;
  }

  /** Clients that are reading the stored blob get no more of it, for this reason. */
  cut(digest: Digest, reason: Error): void {
    this.#readers.cut(digest, reason);
  }

  /** Forgets what memory holds of an evicted blob. */
  forget(digest: Digest): void {
    this.#memory.delete(digest);
  }

  #remember(digest: Digest, held: HeldBody, asOf: number): void {
    if (!this.purged.hasSince(digest, asOf)) this.#memory.set(digest, held);
  }

  #touch(digest: Digest): void {
    this.#options.index.touch(digest, this.#options.clock());
  }

  async #readVerified(
    digest: Digest,
    blob: StoredBlob,
    size: number,
    known: IndexedBlob | undefined,
  ): Promise<Buffer | undefined> {
    if (blob.size !== size) return await this.#found(digest, "open", blob.size);
    const body = await readWhole(blob, size);
    if (!isBodyOf(digest, body)) return await this.#found(digest, "read", size);
    if (known?.checkedAt === undefined || this.#overdue(known.checkedAt))
      this.#options.index.checked(digest, this.#options.clock());
    return body;
  }

  /** Stores what memory holds again, if it is still right; else drops it from memory. Whether memory had it right. */
  async #repair(digest: Digest): Promise<boolean> {
    const held = this.#memory.peek(digest);
    if (held === undefined) return false;
    const { body, mediaType } = held;
    if (!isBodyOf(digest, body)) {
      this.#memory.delete(digest);
      return false;
    }
    const manifest = mediaType === undefined ? undefined : readManifest(body, mediaType);
    try {
      if (!(await this.#store(digest, body))) return true;
      if (typeof manifest === "object")
        this.#options.index.setChildren(digest, manifest.children, manifest.subject);
      this.committed(digest, body.length, mediaType);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("repair", error));
    }
    return true;
  }

  async #found(digest: Digest, by: BitRotFinder, bytes: number): Promise<undefined> {
    await this.checks.found(digest, by, bytes);
  }
}

function isBodyOf(digest: Digest, body: Buffer): boolean {
  return createHash(digestAlgorithm(digest)).update(body).digest("hex") === digestHex(digest);
}

/** A reader that gives the last bytes only when the check of the blob has found it sound. */
function heldBack(
  digest: Digest,
  reader: BlobReader,
  size: number,
  result: Promise<CheckResult>,
): BlobReader {
  const free = size - holdBack;
  let sound = false;
  const passed = async (): Promise<void> => {
    sound ||= (await result) === "sound";
    if (!sound) throw wrongBytes(digest);
  };
  return {
    read: async (position, scratch) => {
      if (!sound && position < free) return await reader.read(position, scratch.subarray(0, free - position));
      if (!sound) await passed();
      return await reader.read(position, scratch);
    },
    lend: (position, max) => {
      if (!sound && position < free) return reader.lend?.(position, Math.min(max, free - position));
      return sound ? reader.lend?.(position, max) : undefined;
    },
    close: () => reader.close(),
  };
}

/** A blob that is held in memory as a whole. */
export function inMemory(source: Source, body: Buffer): LocalBlob {
  return { source, size: body.length, reader: memoryReader(body), body, plain: true };
}

function memoryReader(body: Buffer): BlobReader {
  return {
    read: async (position, scratch) => body.subarray(position, position + scratch.length),
    lend: async (position, max) => ({ bytes: body.subarray(position, position + max), giveBack: () => {} }),
    close: async () => {},
  };
}
