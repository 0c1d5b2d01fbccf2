// What is here: small bodies in memory, everything else in the store, sizes and media types in the index. A store
// or index that fails is reported and passed over; the caller then asks upstream.
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { type Digest, digestAlgorithm, digestHex } from "../oci/digest.ts";
import { largestManifest } from "../oci/manifest.ts";
import type { NoticeSink, Source } from "../telemetry/event.ts";
import {
  type BlobIndex,
  type BlobReader,
  type BlobStore,
  type BlobWriter,
  type Clock,
  type StoredBlob,
  StoreError,
} from "./ports.ts";
import { BlobChunks, SharedChunks } from "./shared-chunks.ts";
import { noticeOfStoreError } from "./store-notice.ts";

/** Blobs up to this size are kept in memory after their first read: configs and small layers. */
const smallBlob = 64 * 1024;
/** What one entry in memory costs besides its body, about. */
const entryOverhead = 512;

export interface LocalBlobsOptions {
  readonly store: BlobStore;
  readonly index: BlobIndex;
  /** Bytes of the largest blob worth storing: the cache's own size. */
  readonly largest: number;
  /** Frees room for `bytes`; resolves when done or when nothing more can go. */
  readonly makeRoom: (bytes: number) => Promise<void>;
  /** Told before a spool is made and after every commit. */
  readonly grown: () => void;
  /** Bytes of small blobs and manifests kept in memory. */
  readonly memoryBytes: number;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

export interface LocalBlob {
  readonly source: Source;
  readonly size: number;
  /** To be closed by whoever opened it. */
  readonly reader: BlobReader;
  /** All of a small blob, which never changes. */
  readonly body?: Buffer;
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

/** Everybody who reads one stored blob. */
class Reading {
  readers = 0;
  readonly chunks: BlobChunks;

  constructor(shared: SharedChunks) {
    this.chunks = new BlobChunks(shared, () => this.readers);
  }
}

type Known = ReturnType<BlobIndex["get"]>;

export class LocalBlobs {
  readonly #options: LocalBlobsOptions;
  readonly #memory: LRUCache<Digest, HeldBody>;
  readonly #readers = new Map<Digest, Reading>();
  readonly #chunks = new SharedChunks();

  constructor(options: LocalBlobsOptions) {
    this.#options = options;
    this.#memory = new LRUCache({
      maxSize: options.memoryBytes,
      sizeCalculation: ({ body }) => body.length + entryOverhead,
    });
  }

  /** Opens a blob; undefined when it is not here, or the store fails. */
  async open(digest: Digest): Promise<LocalBlob | undefined> {
    const { store, index } = this.#options;
    const held = this.#memory.get(digest);
    if (held !== undefined) {
      this.#touch(digest);
      return inMemory("memory", held.body);
    }
    try {
      const known = index.get(digest);
      const blob = await store.open(digest);
      if (blob !== undefined) return await this.#opened(digest, blob, known);
      if (known !== undefined) index.remove(digest);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("open", error));
    }
    return undefined;
  }

  /** Takes over an open blob: small ones go to memory; a size the index does not agree with is corruption. */
  async #opened(digest: Digest, blob: StoredBlob, known: Known): Promise<LocalBlob | undefined> {
    const { store, index, clock } = this.#options;
    const reader = this.#counted(digest, blob);
    let open = true;
    try {
      if (known !== undefined && known.size !== blob.size) return await this.#dropCorrupt(digest, blob.size);
      if (known === undefined) index.add(digest, blob.size, undefined, clock());
      else this.#touch(digest);
      if (blob.size > smallBlob) {
        open = false;
        return { source: store.source, size: blob.size, reader };
      }
      const body = await this.#readVerified(digest, blob, blob.size);
      if (body === undefined) return undefined;
      this.#memory.set(digest, { body, mediaType: known?.mediaType });
      return inMemory(store.source, body);
    } finally {
      if (open) await reader.close();
    }
  }

  /** Whether the index knows the digest. A failing index knows nothing. */
  indexed(digest: Digest): boolean {
    try {
      return this.#options.index.get(digest) !== undefined;
    } catch (error) {
      this.#options.notices(noticeOfStoreError("index.get", error));
      return false;
    }
  }

  /**
   * A manifest body with its media type; undefined when it is not here, not known to be a manifest, or the store
   * fails. The body is verified when it leaves the disk; a wrong one is removed.
   */
  async manifest(digest: Digest): Promise<LocalManifest | undefined> {
    const { index, store } = this.#options;
    const held = this.#memory.get(digest);
    if (held?.mediaType !== undefined) {
      this.#touch(digest);
      return { body: held.body, mediaType: held.mediaType, source: "memory" };
    }
    try {
      const known = index.get(digest);
      if (known?.mediaType === undefined || known.size > largestManifest) return undefined;
      const blob = await store.open(digest);
      if (blob === undefined) {
        index.remove(digest);
        return undefined;
      }
      const body = await this.#readVerified(digest, blob, known.size).finally(() => blob.close());
      if (body === undefined) return undefined;
      this.#memory.set(digest, { body, mediaType: known.mediaType });
      this.#touch(digest);
      return { body, mediaType: known.mediaType, source: store.source };
    } catch (error) {
      this.#options.notices(noticeOfStoreError("manifest", error));
      return undefined;
    }
  }

  /** Stores a verified manifest body. When the store fails it is reported, and memory alone holds the body. */
  async putManifest(digest: Digest, manifest: LocalManifestBody, children: readonly Digest[]): Promise<void> {
    const { body, mediaType } = manifest;
    this.#memory.set(digest, { body, mediaType });
    try {
      const writer = await this.spool(body.length);
      if (writer === undefined) return;
      try {
        await writer.append([body]);
        await writer.commit(digest, body.length);
      } catch (error) {
        await writer.abort();
        throw error;
      } finally {
        await writer.release();
      }
      this.#options.index.setChildren(digest, children);
      this.committed(digest, body.length, mediaType);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("put_manifest", error));
    }
  }

  /**
   * A spool for a blob of `size` bytes; undefined for one larger than the whole cache. Finding no room, it lets one
   * eviction pass make some. Rejects with StoreError.
   */
  async spool(size: number | undefined): Promise<BlobWriter | undefined> {
    const { store, largest, makeRoom, grown } = this.#options;
    if (size !== undefined && size > largest) return undefined;
    grown();
    try {
      return await store.create(size);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== "no_space") throw error;
      await makeRoom(size ?? 0);
      return await store.create(size);
    }
  }

  /** Bytes in spools, of fills and of what they left. */
  get spoolBytes(): number {
    return this.#options.store.spoolBytes;
  }

  /** Records a blob that the store has just committed. */
  committed(digest: Digest, size: number, mediaType: string | undefined): void {
    try {
      this.#options.index.add(digest, size, mediaType, this.#options.clock());
    } catch (error) {
      this.#options.notices(noticeOfStoreError("index.add", error));
    }
    this.#options.grown();
  }

  /** Whether a client is reading the stored blob now. */
  beingRead(digest: Digest): boolean {
    return this.#readers.has(digest);
  }

  /** Forgets what memory holds of an evicted blob. */
  forget(digest: Digest): void {
    this.#memory.delete(digest);
  }

  #touch(digest: Digest): void {
    this.#options.index.touch(digest, this.#options.clock());
  }

  async #readVerified(digest: Digest, blob: StoredBlob, size: number): Promise<Buffer | undefined> {
    if (blob.size !== size) return await this.#dropCorrupt(digest, blob.size);
    const body = await readWhole(blob, size);
    const actual = createHash(digestAlgorithm(digest)).update(body).digest("hex");
    return actual === digestHex(digest) ? body : await this.#dropCorrupt(digest, size);
  }

  #counted(digest: Digest, blob: BlobReader): BlobReader {
    const reading = this.#readers.get(digest) ?? new Reading(this.#chunks);
    this.#readers.set(digest, reading);
    reading.readers++;
    let open = true;
    return {
      read: (position, scratch) => blob.read(position, scratch),
      lend: (position, max) => reading.chunks.lend(blob, position, max),
      close: async () => {
        if (!open) return;
        open = false;
        if (--reading.readers === 0) this.#readers.delete(digest);
        reading.chunks.left();
        await blob.close();
      },
    };
  }

  /** The file first: without its row, one that stays behind would be taken for a blob of its own size. */
  async #dropCorrupt(digest: Digest, bytes: number): Promise<undefined> {
    const { store, index, notices } = this.#options;
    await store.delete(digest);
    index.remove(digest);
    const orphaned = index.manifestsNaming(digest);
    notices({ kind: "eviction", reason: "corrupt", digest, bytes, ageMs: 0, orphaned });
  }
}

export type LocalManifestBody = Omit<LocalManifest, "source">;

/** Reads `size` bytes, fewer when the blob ends early. The caller has bounded `size` and closes the reader. */
async function readWhole(reader: BlobReader, size: number): Promise<Buffer> {
  // Its own memory, not a slice of the shared pool: bodies stay for long and `read` may hand out views.
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

/** A blob of which all is here in memory. */
export function inMemory(source: Source, body: Buffer): LocalBlob {
  return { source, size: body.length, reader: memoryReader(body), body };
}

function memoryReader(body: Buffer): BlobReader {
  return {
    read: async (position, scratch) => body.subarray(position, position + scratch.length),
    lend: async (position, max) => ({ bytes: body.subarray(position, position + max), giveBack: () => {} }),
    close: async () => {},
  };
}
