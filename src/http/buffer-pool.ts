// Buffers between store and socket. One read and one write of 1 MiB cost two thirds of the CPU of four of 256 KiB, which
// cost a third of 64 KiB streams (docs/design.md, "The way of a request"); when many clients read at once, smaller
// ones keep the memory flat: a hundred slow clients hold a buffer each.

const large = 1024 * 1024;
const middle = 256 * 1024;
const small = 64 * 1024;
/** Bytes lent out up to which large buffers are lent, */
const fewReaders = 2 * 1024 * 1024;
/** and middle ones: 200 downloads at once by 64 KiB cost 4.7 times the CPU of those by 256 KiB. */
const manyReaders = 32 * 1024 * 1024;
/** Bytes lent out above which nobody should read ahead, and followers of fills, who may be slow, get small ones. */
const enough = 4 * 1024 * 1024;
/**
 * Bytes of returned buffers kept for the next response, of each size: the large ones must not crowd out the small. What
 * is not kept is garbage that is freed late: with 2 MiB a hundred followers peak 20-40 MB higher.
 */
const kept = 8 * 1024 * 1024;

/** Most bytes of a buffer. */
export const largestBuffer = large;

export class BufferPool {
  readonly #free = new Map<number, Buffer[]>([large, middle, small].map((size) => [size, []]));
  #lent = 0;

  /** Bytes lent out. */
  get lent(): number {
    return this.#lent;
  }

  /** So many clients read at once that each of them may do with one buffer: the others fill its pauses. */
  get busy(): boolean {
    return this.#lent >= enough;
  }

  /** 1 MiB, 256 KiB when some is lent out, 64 KiB while much is. To be returned with `give`. */
  take(following: boolean): Buffer {
    const size = this.#size(following ? enough : manyReaders);
    this.#lent += size;
    return this.#free.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }

  #size(bound: number): number {
    if (this.#lent >= bound) return small;
    return this.#lent < fewReaders ? large : middle;
  }

  /** Only for buffers no pending write can still refer to; others are `lost`. */
  give(buffer: Buffer): void {
    this.lost(buffer);
    const free = this.#free.get(buffer.length);
    if (free !== undefined && (free.length + 1) * buffer.length <= kept) free.push(buffer);
  }

  /** A lent buffer that does not come back: a socket may still be sending from it. */
  lost(buffer: Buffer): void {
    this.#lent -= buffer.length;
  }
}
