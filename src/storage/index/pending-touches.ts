// Last uses that wait to be written: a hit costs an entry of a Map, and one transaction writes many of them.

import type { Digest } from "../../oci/digest.ts";
import { StoreError } from "../../ports/blobs.ts";
import type { NoticeSink } from "../../ports/event.ts";

/** Digests held in memory at most, and milliseconds one is held: what a crash can lose. */
const maxPending = 1_000;
const maxDelay = 5_000;
/** Digests written in one turn of the event loop: each changes three pages that are far apart. */
const perTurn = 100;
/** Milliseconds between two such turns, for other work. */
const nextTurn = 5;

/** Uses of one blob. */
export interface Touch {
  usedAt: number;
  uses: number;
}

export class PendingTouches {
  readonly #write: (touches: ReadonlyMap<Digest, Touch>) => void;
  readonly #paused: () => boolean;
  readonly #notice: NoticeSink | undefined;
  #touches = new Map<Digest, Touch>();
  #timer: NodeJS.Timeout | undefined;

  /** While `paused`, last uses wait longer, up to twice as many. */
  constructor(
    write: (touches: ReadonlyMap<Digest, Touch>) => void,
    paused: () => boolean,
    notice: NoticeSink | undefined,
  ) {
    this.#write = write;
    this.#paused = paused;
    this.#notice = notice;
  }

  /** Never throws: a hit must not fail because its last use cannot be written. */
  add(digest: Digest, usedAt: number): void {
    const touch = this.#touches.get(digest);
    if (touch === undefined) this.#touches.set(digest, { usedAt, uses: 1 });
    else {
      touch.usedAt = usedAt;
      touch.uses++;
    }
    if (this.#touches.size >= (this.#paused() ? 2 * maxPending : maxPending)) this.#writeSome();
    this.#timer ??= this.#later();
  }

  /** The last use that waits. */
  get(digest: Digest): number | undefined {
    return this.#touches.get(digest)?.usedAt;
  }

  forget(digest: Digest): void {
    this.#touches.delete(digest);
  }

  /** Writes those of `digests` that wait; true when there were any. Throws as `flush` does. */
  write(digests: Iterable<Digest>): boolean {
    const touches = new Map<Digest, Touch>();
    for (const digest of digests) {
      const touch = this.#touches.get(digest);
      if (touch === undefined) continue;
      touches.set(digest, touch);
      this.#touches.delete(digest);
    }
    if (touches.size > 0) this.#write(touches);
    return touches.size > 0;
  }

  /** Writes all. Throws StoreError; they are dropped then, which changes only the order of eviction. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#touches.size === 0) return;
    const touches = this.#touches;
    this.#touches = new Map();
    this.#write(touches);
  }

  /**
   * Writes as many as wait now, and no more, so that a busy blob is written once in `maxDelay` and not in every turn.
   */
  #writeInTurns(waiting = this.#touches.size): void {
    const paused = this.#paused();
    if (!paused) this.#writeSome();
    const left = paused ? waiting : waiting - perTurn;
    if (left > 0) this.#timer = setTimeout(() => this.#writeInTurns(left), nextTurn).unref();
    else this.#timer = this.#touches.size === 0 ? undefined : this.#later();
  }

  #later(): NodeJS.Timeout {
    return setTimeout(() => this.#writeInTurns(), maxDelay).unref();
  }

  /** Writes those that have waited longest. */
  #writeSome(): void {
    try {
      this.write([...this.#touches.keys()].slice(0, perTurn));
    } catch (error) {
      const code = error instanceof StoreError ? error.code : "io";
      this.#notice?.({ kind: "store_error", op: "touch", code, message: String(error) });
    }
  }
}
