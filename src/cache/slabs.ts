// Memory that running fills copy what they receive into, used again and again. What sockets deliver is then garbage at
// once, which V8 frees at next to no cost; kept for the length of a window it grows old, and V8 marks its whole heap
// anew for every 30 MB of it: 40 % of the CPU time of a miss.

/** Bytes of one piece. */
export const slabSize = 128 * 1024;
/** Most bytes kept for the next fill. */
const kept = 4 * 1024 * 1024;

export class Slabs {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(slabSize);
  }

  /** Only when nothing can refer to it any more. */
  give(slab: Buffer): void {
    if (this.#free.length * slabSize < kept) this.#free.push(slab);
  }
}
