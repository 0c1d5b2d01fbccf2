// Last uses waiting to be written: a hit costs a Map entry, and one transaction writes a hundred of them.

import type { Digest } from "../../oci/digest.ts";
import { StoreError } from "../../ports/blobs.ts";
import type { NoticeSink } from "../../ports/event.ts";

/** Most digests held in memory, and milliseconds one is held at most: what a crash can forget. */
const maxPending = 1_000;
const maxDelay = 5_000;
/**
 * Digests written in one turn of the event loop. Each is three pages far apart: at a million blobs a thousand took
 * 30-90 ms.
 */
const perTurn = 100;
/** Milliseconds between two such turns: others come first. */
const nextTurn = 5;

export class PendingTouches {
  readonly #write: (touches: ReadonlyMap<Digest, number>) => void;
  readonly #paused: () => boolean;
  readonly #notice: NoticeSink | undefined;
  #touches = new Map<Digest, number>();
  #timer: NodeJS.Timeout | undefined;

  /** While `paused`, they wait longer, up to twice as many. */
  constructor(
    write: (touches: ReadonlyMap<Digest, number>) => void,
    paused: () => boolean,
    notice: NoticeSink | undefined,
  ) {
    this.#write = write;
    this.#paused = paused;
    this.#notice = notice;
  }

  /** Never throws: a hit does not fail because its time of use cannot be written. */
  add(digest: Digest, usedAt: number): void {
    this.#touches.set(digest, usedAt);
    if (this.#touches.size >= (this.#paused() ? 2 * maxPending : maxPending)) this.#writeSome();
    this.#timer ??= this.#later();
  }

  get(digest: Digest): number | undefined {
    return this.#touches.get(digest);
  }

  forget(digest: Digest): void {
    this.#touches.delete(digest);
  }

  /** Writes those of these digests that wait; true when there were any. Throws as `flush` does. */
  write(digests: Iterable<Digest>): boolean {
    const touches = new Map<Digest, number>();
    for (const digest of digests) {
      const usedAt = this.#touches.get(digest);
      if (usedAt === undefined) continue;
      touches.set(digest, usedAt);
      this.#touches.delete(digest);
    }
    if (touches.size > 0) this.#write(touches);
    return touches.size > 0;
  }

  /** Writes all of them. When that fails they are dropped: only the order of eviction suffers. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#touches.size === 0) return;
    const touches = this.#touches;
    this.#touches = new Map();
    this.#write(touches);
  }

  /** As many as wait now, and no more: those of a busy blob are written once in `maxDelay`, not in every turn. */
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

  /** Those that have waited longest. */
  #writeSome(): void {
    try {
      this.write([...this.#touches.keys()].slice(0, perTurn));
    } catch (error) {
      const code = error instanceof StoreError ? error.code : "io";
      this.#notice?.({ kind: "store_error", op: "touch", code, message: String(error) });
    }
  }
}
