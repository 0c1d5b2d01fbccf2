// Buffers between store and socket. Few large reads and writes cost less CPU than many small ones (`npm run bench`).
// When many clients read at once, smaller buffers keep the memory flat: every slow client holds one.

const large = 1024 * 1024;
const middle = 256 * 1024;
const small = 64 * 1024;
/** Large buffers are lent until this many bytes are lent out, */
const largeUntil = 2 * 1024 * 1024;
/** then middle ones, until this many are. */
const middleUntil = 32 * 1024 * 1024;
/** Above this many bytes lent out no client reads ahead, and followers of fills, who may be slow, get small buffers. */
const busyFrom = 4 * 1024 * 1024;
/**
 * Bytes of returned buffers kept for the next response, for each size by itself: large buffers must not crowd out small
 * ones. Buffers that are not kept are freed late, by the garbage collection, so a lower bound makes the memory peak
 * higher.
 */
const mostKept = 8 * 1024 * 1024;

/** Most bytes of a buffer. */
export const largestBuffer = large;

export class BufferPool {
  readonly #free = new Map<number, Buffer[]>([large, middle, small].map((size) => [size, []]));
  #lent = 0;

  /** Bytes lent out. */
  get lent(): number {
    return this.#lent;
  }

  /**
   * So many clients read at once that each should hold one buffer only: the others use the time while it is written.
   */
  get busy(): boolean {
    return this.#lent >= busyFrom;
  }

  /**
   * A buffer to read from a file, or from a fill that runs, into: 1 MiB, 256 KiB when some bytes are lent out, 64 KiB
   * when many are. To be returned with `give` or `lost`.
   */
  take(source: "file" | "fill"): Buffer {
    const size = this.#size(source === "fill" ? busyFrom : middleUntil);
    this.#lent += size;
    return this.#free.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }

  #size(smallFrom: number): number {
    if (this.#lent >= smallFrom) return small;
    return this.#lent < largeUntil ? large : middle;
  }

  /** Takes a buffer back. Not one that a pending write can still refer to: that one is `lost`. */
  give(buffer: Buffer): void {
    this.lost(buffer);
    const free = this.#free.get(buffer.length);
    if (free !== undefined && (free.length + 1) * buffer.length <= mostKept) free.push(buffer);
  }

  /** A lent buffer does not come back: a socket may still be sending from it. */
  lost(buffer: Buffer): void {
    this.#lent -= buffer.length;
  }
}
