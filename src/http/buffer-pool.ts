// Buffers between store and socket. 256 KiB reads cost a third of the CPU of 64 KiB streams (design.md, section 3).

export const bufferSize = 256 * 1024;
/** Buffers kept for the next response; more are made when more clients read at once, and then dropped. */
const kept = 64;

export class BufferPool {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(bufferSize);
  }

  /** Only for buffers no pending write can still refer to. */
  give(buffer: Buffer): void {
    if (this.#free.length < kept) this.#free.push(buffer);
  }
}
