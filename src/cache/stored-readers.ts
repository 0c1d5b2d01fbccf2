// The stored blobs that are being read, each by any number of clients: what one of many reads serves those near it, and none
// gets any more of a blob whose bytes have proved wrong.
import type { Digest } from "../oci/digest.ts";
import { type BlobReader, StoreError } from "../ports/blobs.ts";
import { BlobChunks, SharedChunks } from "./fill/shared-chunks.ts";

/** One stored blob that is being read, for all its readers. */
class Reading {
  readers = 0;
  /** Why no reader gets any more of it. */
  failure: Error | undefined;
  readonly chunks: BlobChunks;

  constructor(shared: SharedChunks) {
    this.chunks = new BlobChunks(shared, () => this.readers);
  }
}

export class StoredReaders {
  readonly #readings = new Map<Digest, Reading>();
  readonly #chunks = new SharedChunks();
  /** Readers of what is not stored yet. */
  readonly #others = new Set<{ readonly digest: Digest; readonly cut: (reason: Error) => void }>();
  readonly #unreadable: (digest: Digest) => void;
  #cuts = 0;

  /** `unreadable` is called when the disk cannot give a part of a blob. */
  constructor(unreadable: (digest: Digest) => void) {
    this.#unreadable = unreadable;
  }

  /** How often `cut` was called. */
  get cuts(): number {
    return this.#cuts;
  }

  /** The blobs that clients are reading now. */
  get digests(): Iterable<Digest> {
    return this.#readings.keys();
  }

  /** Whether a client is reading the stored blob now. */
  has(digest: Digest): boolean {
    return this.#readings.has(digest);
  }

  /** The reader, counted until it is closed. */
  add(digest: Digest, blob: BlobReader): BlobReader {
    const reading = this.#readings.get(digest) ?? new Reading(this.#chunks);
    this.#readings.set(digest, reading);
    reading.readers++;
    let open = true;
    return {
      read: async (position, scratch) => {
        try {
          const bytes = await blob.read(position, scratch);
          if (reading.failure === undefined) return bytes;
        } catch (error) {
          if (error instanceof StoreError && error.code === "io") this.#unreadable(digest);
          throw error;
        }
        throw reading.failure;
      },
      lend: (position, max) => {
        if (reading.failure !== undefined) throw reading.failure;
        return reading.chunks.lend(blob, position, max);
      },
      close: async () => {
        if (!open) return;
        open = false;
        if (--reading.readers === 0 && this.#readings.get(digest) === reading) this.#readings.delete(digest);
        reading.chunks.readerLeft();
        await blob.close();
      },
    };
  }

  /** `cut` is called when readers of the blob are to get no more of it, until the function that this gives is. */
  onCut(digest: Digest, cut: (reason: Error) => void): () => void {
    const asked = { digest, cut };
    this.#others.add(asked);
    return () => this.#others.delete(asked);
  }

  /**
   * Readers of the blob get no more of it: by default since the stored bytes are wrong. A reader that is added from now on is not
   * affected.
   */
  cut(digest: Digest, reason: Error = wrongBytes(digest)): void {
    this.#cuts++;
    for (const other of [...this.#others]) if (other.digest === digest) other.cut(reason);
    const reading = this.#readings.get(digest);
    if (reading === undefined) return;
    this.#readings.delete(digest);
    reading.failure = reason;
  }
}

export function wrongBytes(digest: Digest): StoreError {
  return new StoreError("corrupt", `what is stored of ${digest} is something else`);
}
