// One read of a stored blob, or of a spool, for all clients that are near each other in it: a fleet that pulls a layer
// reads the same bytes at nearly the same time, and is sent them from the same memory.
import type { BlobReader, Lent } from "../../ports/blobs.ts";
import { BufferPool, type PooledBuffer } from "./buffer-pool.ts";

/** Bytes of one chunk. */
export const chunkSize = 256 * 1024;
/** Bytes of all chunks of all blobs; beyond that each client reads for itself. */
export const maxSharedBytes = 16 * 1024 * 1024;
/** Clients of one blob from which on they share: fewer read larger pieces, ahead of what they send. */
export const minSharingReaders = 4;

interface Chunk {
  readonly buffer: PooledBuffer;
  readonly owner: BlobChunks;
  readonly index: number;
  /** Resolves with the bytes there are: none when the read failed. Each client's own read then says why. */
  readonly filled: Promise<number>;
}

/** The memory of the chunks of all blobs. */
export class SharedChunks {
  readonly #pool = new BufferPool(chunkSize);
  /** Those that no client is being sent, the one idle longest first. */
  readonly #idle = new Set<Chunk>();
  #count = 0;

  /** Bytes of chunks. */
  get bytes(): number {
    return this.#count * chunkSize;
  }

  /** Memory for one more chunk, if need be of the one that has been idle longest; undefined: all are being sent. */
  take(): PooledBuffer | undefined {
    if (this.bytes + chunkSize > maxSharedBytes) {
      const [oldest] = this.#idle;
      if (oldest === undefined) return undefined;
      this.drop(oldest);
    }
    this.#count++;
    return this.#pool.take();
  }

  /** One more client is sent the chunk. */
  use(chunk: Chunk): void {
    this.#idle.delete(chunk);
    this.#pool.share(chunk.buffer);
  }

  /** One client less is sent the chunk; see Lent for `sent`. */
  giveBack(chunk: Chunk, sent: boolean): void {
    this.#pool.giveBack(chunk.buffer, sent);
    if (chunk.buffer.users > 1) return;
    if (!chunk.buffer.discarded && chunk.owner.keeps(chunk)) this.#idle.add(chunk);
    else this.drop(chunk);
  }

  /** Only while no client is being sent it. */
  drop(chunk: Chunk): void {
    this.#idle.delete(chunk);
    chunk.owner.forget(chunk);
    this.#count--;
    this.#pool.release(chunk.buffer);
  }
}

/** The chunks of one blob, as long as a client reads it. */
export class BlobChunks {
  readonly #shared: SharedChunks;
  readonly #readers: () => number;
  readonly #chunks = new Map<number, Chunk>();

  /** `readers`: how many clients read the blob. */
  constructor(shared: SharedChunks, readers: () => number) {
    this.#shared = shared;
    this.#readers = readers;
  }

  /** A reader has left. With the last one everything goes that is not being sent. */
  readerLeft(): void {
    if (this.#readers() > 0) return;
    for (const chunk of this.#chunks.values()) if (chunk.buffer.users === 1) this.#shared.drop(chunk);
  }

  /** See BlobReader; never rejects. `reader` is read from for bytes that are in no chunk. */
  lend(
    reader: Pick<BlobReader, "read">,
    position: number,
    max: number,
  ): Promise<Lent | undefined> | undefined {
    const index = Math.floor(position / chunkSize);
    const chunk =
      this.#chunks.get(index) ??
      (this.#readers() < minSharingReaders ? undefined : this.#read(reader, index));
    return chunk && this.#lend(chunk, position - index * chunkSize, max);
  }

  async #lend(chunk: Chunk, from: number, max: number): Promise<Lent | undefined> {
    this.#shared.use(chunk);
    const bytes = chunk.buffer.bytes.subarray(from, Math.min(from + max, await chunk.filled));
    if (bytes.length > 0) return { bytes, giveBack: (sent) => this.#shared.giveBack(chunk, sent) };
    this.#shared.giveBack(chunk, true);
    return undefined;
  }

  #read(reader: Pick<BlobReader, "read">, index: number): Chunk | undefined {
    const buffer = this.#shared.take();
    if (buffer === undefined) return undefined;
    const filled = reader.read(index * chunkSize, buffer.bytes).then(
      ({ length }) => length,
      () => {
        this.forget(chunk);
        return 0;
      },
    );
    const chunk: Chunk = { buffer, owner: this, index, filled };
    this.#chunks.set(index, chunk);
    return chunk;
  }

  /** Whether the chunk is worth keeping while no client is being sent it. */
  keeps(chunk: Chunk): boolean {
    return this.#readers() > 0 && this.#chunks.get(chunk.index) === chunk;
  }

  forget(chunk: Chunk): void {
    if (this.#chunks.get(chunk.index) === chunk) this.#chunks.delete(chunk.index);
  }
}
