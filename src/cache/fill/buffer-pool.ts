// Memory that is used again and again. What sockets deliver is copied into it and is garbage at once, which V8 frees
// at next to no cost. Kept for as long as a fill needs the bytes it would grow old, and V8 would mark its whole heap
// for every few dozen MB of it.
import type { Lent } from "../../ports/blobs.ts";

/** Most bytes of a pool that are kept while nothing uses them. */
const maxFreeBytes = 4 * 1024 * 1024;

/**
 * Most bytes that clients are still being sent after their owner has released them. With more nothing is lent: slow
 * clients get copies.
 */
export const maxLentBytes = 8 * 1024 * 1024;

export interface PooledBuffer {
  readonly bytes: Buffer;
  /** Its owner until that releases it, and the clients that are being sent it. */
  users: number;
  /** A client has gone whose socket may still send from it: the memory is not used again. */
  discarded: boolean;
}

export class BufferPool {
  readonly #size: number;
  readonly #free: Buffer[] = [];
  /** Buffers that are still being sent after their owner has released them. */
  #lent = 0;

  /** `size`: bytes of each buffer. */
  constructor(size: number) {
    this.#size = size;
  }

  /** A buffer, with the caller as its owner. */
  take(): PooledBuffer {
    const bytes = this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#size);
    return { bytes, users: 1, discarded: false };
  }

  /** The owner needs it no more. */
  release(buffer: PooledBuffer): void {
    this.#lent++;
    this.#leave(buffer);
  }

  /** One more client is being sent it: its bytes do not change until `giveBack`. */
  share(buffer: PooledBuffer): void {
    buffer.users++;
  }

  /** The client is no longer being sent it; see Lent for `sent`. */
  giveBack(buffer: PooledBuffer, sent: boolean): void {
    if (!sent) buffer.discarded = true;
    this.#leave(buffer);
  }

  /** The bytes in `from` to `to`, for a client to be sent; undefined while `maxLentBytes` are lent. */
  lend(buffer: PooledBuffer, from: number, to: number): Lent | undefined {
    if (this.#lent * this.#size >= maxLentBytes) return undefined;
    this.share(buffer);
    return { bytes: buffer.bytes.subarray(from, to), giveBack: (sent) => this.giveBack(buffer, sent) };
  }

  #leave(buffer: PooledBuffer): void {
    if (--buffer.users > 0) return;
    this.#lent--;
    if (!buffer.discarded && this.#free.length * this.#size < maxFreeBytes) this.#free.push(buffer.bytes);
  }
}
