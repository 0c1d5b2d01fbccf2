// Memory that running fills copy what they receive into, used again and again. What sockets deliver is then garbage at
// once, which V8 frees at next to no cost; kept for the length of a window it grows old, and V8 marks its whole heap
// anew for every 30 MB of it: 40 % of the CPU time of a miss.
import type { Lent } from "../../ports/blobs.ts";

/** Bytes of one piece. */
export const slabSize = 128 * 1024;
/** Most bytes kept for the next fill. */
const kept = 4 * 1024 * 1024;

/** With so many bytes being sent that no window has any more, nothing more is lent: slow clients get copies. */
export const mostStray = 8 * 1024 * 1024;

export interface Slab {
  readonly bytes: Buffer;
  /** The window that has it, and the clients it is being sent to. */
  users: number;
  /** A socket may still send from it when nobody uses it any more. */
  spoiled: boolean;
}

export class Slabs {
  readonly #free: Buffer[] = [];
  /** Those that no window has any more and that are still being sent. */
  #strays = 0;

  take(): Slab {
    const bytes = this.#free.pop() ?? Buffer.allocUnsafeSlow(slabSize);
    return { bytes, users: 1, spoiled: false };
  }

  /** The window needs it no more. */
  give(slab: Slab): void {
    this.#strays++;
    this.#leave(slab);
  }

  /** Its bytes in `from` to `to`, which must not be written any more; undefined while too much is lent. */
  lend(slab: Slab, from: number, to: number): Lent | undefined {
    if (this.#strays * slabSize >= mostStray) return undefined;
    slab.users++;
    const giveBack = (sent: boolean): void => {
      if (!sent) slab.spoiled = true;
      this.#leave(slab);
    };
    return { bytes: slab.bytes.subarray(from, to), giveBack };
  }

  #leave(slab: Slab): void {
    if (--slab.users > 0) return;
    this.#strays--;
    if (!slab.spoiled && this.#free.length * slabSize < kept) this.#free.push(slab.bytes);
  }
}
