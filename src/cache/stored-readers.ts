// The stored blobs that are being read, each by any number of clients: what one of many reads serves those near it, and none
// gets any more of a blob whose bytes have proved wrong.
import type { Digest } from "../oci/digest.ts";
import { type BlobReader, StoreError } from "../ports/blobs.ts";
import { BlobChunks, SharedChunks } from "./fill/shared-chunks.ts";

/** One stored blob that is being read, for all its readers. */
class Reading {
  readers = 0;
  /** Why no reader gets any more of it. */
  failure: StoreError | undefined;
  readonly chunks: BlobChunks;

  constructor(shared: SharedChunks) {
    this.chunks = new BlobChunks(shared, () => this.readers);
  }
}

export class StoredReaders {
  readonly #readings = new Map<Digest, Reading>();
  readonly #chunks = new SharedChunks();
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

  /** Readers of the stored bytes get no more of them. A reader that is added from now on is not affected. */
  cut(digest: Digest): void {
    this.#cuts++;
    const reading = this.#readings.get(digest);
    if (reading === undefined) return;
    this.#readings.delete(digest);
    reading.failure = wrongBytes(digest);
  }
}

export function wrongBytes(digest: Digest): StoreError {
  return new StoreError("corrupt", `what is stored of ${digest} is something else`);
}
