// The newest bytes of a running fill, kept in memory: followers that keep up are fed from here without touching
// the spool. One budget is shared by all fills, so memory does not grow with their number.
import type { Lent } from "../../ports/blobs.ts";
import { BufferPool, type PooledBuffer } from "./buffer-pool.ts";
import { SharedChunks } from "./shared-chunks.ts";

/** Bytes of one of the buffers a window is made of. */
export const bufferSize = 128 * 1024;

const largestWindow = 2 * 1024 * 1024;
const smallestWindow = 512 * 1024;

/**
 * The memory of all fills: a number of bytes split evenly over the windows of those that run, the buffers the windows
 * are made of, and the chunks of spools that many followers share.
 */
export class WindowBudget {
  readonly buffers = new BufferPool(bufferSize);
  readonly chunks = new SharedChunks();
  readonly #total: number;
  #fills = 0;

  /** `total` in bytes; the bound holds while fewer than `total` / 512 KiB fills run. */
  constructor(total: number) {
    this.#total = total;
  }

  enter(): void {
    this.#fills++;
  }

  leave(): void {
    this.#fills--;
  }

  /** Bytes one fill may hold now: between 512 KiB and 2 MiB. */
  get share(): number {
    return Math.max(
      smallestWindow,
      Math.min(largestWindow, Math.floor(this.#total / Math.max(1, this.#fills))),
    );
  }
}

/** Consecutive bytes of one blob, from `start` (oldest byte kept) to `end` (next byte to come). */
export class Window {
  readonly #pool: BufferPool;
  /** The first one holds `start`; all but the first and the last are wholly in use. */
  readonly #held: PooledBuffer[] = [];
  /** Where in the blob the first buffer begins. */
  #base = 0;
  #start = 0;
  #end = 0;

  /** Of buffers of `bufferSize`. */
  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#end;
  }

  get bytes(): number {
    return this.#end - this.#start;
  }

  /** Forgets everything: the next byte to come is the one at `offset`. */
  restart(offset: number): void {
    this.trim(this.#end, 0);
    this.#base = offset;
    this.#start = offset;
    this.#end = offset;
  }

  /** Copies the chunk. */
  push(chunk: Buffer): void {
    for (let taken = 0; taken < chunk.length; ) {
      const at = this.#end - this.#base;
      if (at === this.#held.length * bufferSize) this.#held.push(this.#pool.take());
      const { bytes } = this.#held[this.#held.length - 1] as PooledBuffer;
      const copied = chunk.copy(bytes, at % bufferSize, taken);
      taken += copied;
      this.#end += copied;
    }
  }

  /** Forgets what comes before `offset`, but for the newest `keep` bytes (0 or more). */
  trim(offset: number, keep: number): void {
    this.#start = Math.max(this.#start, Math.min(offset, this.#end - keep));
    while (this.#held.length > 0 && this.#base + bufferSize <= this.#start) this.#releaseFirst();
    if (this.#start === this.#end && this.#held.length > 0) {
      this.#releaseFirst();
      this.#base = this.#start;
    }
  }

  /** Copies bytes from `position` on into `target`, as many as there are and fit; 0 when that byte is not held. */
  copy(position: number, target: Buffer): number {
    if (position < this.#start) return 0;
    let copied = 0;
    for (const part of this.#parts(position, Math.min(this.#end, position + target.length)))
      copied += part.copy(target, copied);
    return copied;
  }

  /** At most `max` bytes from `position` on, not copied; undefined when that byte is not held, or too much is lent. */
  lend(position: number, max: number): Lent | undefined {
    if (position < this.#start || position >= this.#end) return undefined;
    const at = position - this.#base;
    const from = at % bufferSize;
    const to = Math.min(bufferSize, from + Math.min(max, this.#end - position));
    return this.#pool.lend(this.#held[Math.floor(at / bufferSize)] as PooledBuffer, from, to);
  }

  /** Everything from `offset` (at least `start`) to the end: views that are good until it is trimmed. */
  since(offset: number): Buffer[] {
    return this.#parts(offset, this.#end);
  }

  #parts(from: number, end: number): Buffer[] {
    const parts: Buffer[] = [];
    for (let position = from; position < end; ) {
      const at = position - this.#base;
      const { bytes } = this.#held[Math.floor(at / bufferSize)] as PooledBuffer;
      const part = bytes.subarray(at % bufferSize, (at % bufferSize) + end - position);
      parts.push(part);
      position += part.length;
    }
    return parts;
  }

  #releaseFirst(): void {
    this.#pool.release(this.#held.shift() as PooledBuffer);
    this.#base += bufferSize;
  }
}
