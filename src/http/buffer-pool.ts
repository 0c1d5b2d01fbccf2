// Buffers between store and socket. Reads of 256 KiB cost a third of the CPU of 64 KiB streams (design.md, section 3);
// when many clients read at once, smaller ones keep the memory flat: a hundred slow clients hold a buffer each.

const large = 256 * 1024;
const small = 64 * 1024;
/** Bytes lent out above which only small buffers are lent, and nobody should read ahead. */
const enough = 4 * 1024 * 1024;
/** Bytes of returned buffers kept for the next response. */
const kept = 4 * 1024 * 1024;

export class BufferPool {
  readonly #free = new Map<number, Buffer[]>([
    [large, []],
    [small, []],
  ]);
  #lent = 0;
  #kept = 0;

  /** Bytes lent out. */
  get lent(): number {
    return this.#lent;
  }

  /** So many clients read at once that each of them may do with one buffer: the others fill its pauses. */
  get busy(): boolean {
    return this.#lent >= enough;
  }

  /** 256 KiB, or 64 KiB while much is lent out. To be returned with `give`. */
  take(): Buffer {
    const size = this.busy ? small : large;
    this.#lent += size;
    const buffer = this.#free.get(size)?.pop();
    if (buffer === undefined) return Buffer.allocUnsafeSlow(size);
    this.#kept -= size;
    return buffer;
  }

  /** Only for buffers no pending write can still refer to; others are `lost`. */
  give(buffer: Buffer): void {
    this.lost(buffer);
    if (this.#kept + buffer.length > kept) return;
    this.#kept += buffer.length;
    this.#free.get(buffer.length)?.push(buffer);
  }

  /** A lent buffer that does not come back: a socket may still be sending from it. */
  lost(buffer: Buffer): void {
    this.#lent -= buffer.length;
  }
}
