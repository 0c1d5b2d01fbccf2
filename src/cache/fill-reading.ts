// What followers see of a running fill: the bytes they may have, as they come, from memory or from the spool.
import type { Bell } from "./bell.ts";
import type { Follower } from "./followers.ts";
import { StoreError } from "./ports.ts";
import type { Spool } from "./spool.ts";
import type { Window } from "./window.ts";

/** Never given to a follower before the digest is verified. */
export const holdBack = 64 * 1024;

/** How far the fill is. */
export interface FillProgress {
  readonly received: number;
  /** Size of the whole blob in bytes, when known. */
  readonly size: number | undefined;
  /** Every byte has come, and the digest is right. */
  readonly verified: boolean;
  readonly failure: Error | undefined;
}

export class FillReading {
  readonly #fill: FillProgress;
  readonly #window: Window;
  readonly #spool: Spool;
  readonly #bell: Bell;

  constructor(fill: FillProgress, window: Window, spool: Spool, bell: Bell) {
    this.#fill = fill;
    this.#window = window;
    this.#spool = spool;
    this.#bell = bell;
  }

  /** See BlobReader. */
  async read(follower: Follower, position: number, scratch: Buffer): Promise<Buffer> {
    const held = await this.held(follower, position, scratch.length);
    if (held !== undefined) return held;
    const spooled = Math.min(this.#released, this.#spool.written) - position;
    if (spooled <= 0) throw new StoreError("io", `bytes at ${position} are no longer held`);
    return await this.#spool.read(
      position,
      spooled < scratch.length ? scratch.subarray(0, spooled) : scratch,
    );
  }

  /** Waits for the bytes; undefined when the window has moved past them and the spool has them. */
  async held(follower: Follower, position: number, max: number): Promise<Buffer | undefined> {
    follower.position = position;
    if (!this.#spool.usable) this.#bell.ring();
    for (;;) {
      const { failure, verified } = this.#fill;
      if (failure !== undefined) throw failure;
      if (follower.dropped)
        throw new StoreError("no_space", "too slow to follow a blob that cannot be stored");
      const available = Math.min(this.#released - position, max);
      if (available > 0) {
        const chunk = this.#window.at(position);
        return chunk !== undefined && chunk.length > available ? chunk.subarray(0, available) : chunk;
      }
      if (verified) return Buffer.alloc(0);
      await this.#bell.rung;
    }
  }

  /** Bytes followers may have. */
  get #released(): number {
    const { verified, received, size } = this.#fill;
    return verified ? received : Math.max(0, Math.min(received, (size ?? received) - holdBack));
  }
}
