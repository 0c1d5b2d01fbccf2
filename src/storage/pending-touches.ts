// Last uses waiting to be written: a hit costs a Map entry, and one transaction writes a thousand of them.
import { StoreError } from "../cache/ports.ts";
import type { Digest } from "../oci/digest.ts";
import type { NoticeSink } from "../telemetry/event.ts";

/** Most digests held in memory, and milliseconds one is held at most: what a crash can forget. */
const maxPending = 1_000;
const maxDelay = 5_000;

export class PendingTouches {
  readonly #write: (touches: ReadonlyMap<Digest, number>) => void;
  readonly #notice: NoticeSink | undefined;
  #touches = new Map<Digest, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(write: (touches: ReadonlyMap<Digest, number>) => void, notice: NoticeSink | undefined) {
    this.#write = write;
    this.#notice = notice;
  }

  /** Never throws: a hit does not fail because its time of use cannot be written. */
  add(digest: Digest, usedAt: number): void {
    this.#touches.set(digest, usedAt);
    if (this.#touches.size >= maxPending) this.#flushOrTell();
    else this.#timer ??= setTimeout(() => this.#flushOrTell(), maxDelay).unref();
  }

  get(digest: Digest): number | undefined {
    return this.#touches.get(digest);
  }

  forget(digest: Digest): void {
    this.#touches.delete(digest);
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

  #flushOrTell(): void {
    try {
      this.flush();
    } catch (error) {
      const code = error instanceof StoreError ? error.code : "io";
      this.#notice?.({ kind: "store_error", op: "touch", code, message: String(error) });
    }
  }
}
