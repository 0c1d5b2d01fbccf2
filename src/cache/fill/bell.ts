// Tells everybody who waits that something has changed; each then looks for himself.
import type { Pause } from "../../ports/clock.ts";

export class Bell {
  #next = Promise.withResolvers<void>();
  #soon: NodeJS.Timeout | undefined;

  /** Resolves when the bell rings next. */
  get rung(): Promise<void> {
    return this.#next.promise;
  }

  /** Rings within so many milliseconds, once for all who want it to meanwhile. */
  ringSoon(milliseconds: number): void {
    this.#soon ??= setTimeout(() => this.ring(), milliseconds);
  }

  ring(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    const rung = this.#next;
    this.#next = Promise.withResolvers();
    rung.resolve();
  }

  /** True as soon as `holds`, which is asked now and at every ring; false when that takes `milliseconds`. */
  async within(milliseconds: number, pause: Pause, holds: () => boolean): Promise<boolean> {
    const patience = new AbortController();
    let late = false;
    const over = pause(milliseconds, patience.signal).then(
      () => {
        late = true;
      },
      () => {},
    );
    try {
      while (!late) {
        if (holds()) return true;
        await Promise.race([over, this.rung]);
      }
      return false;
    } finally {
      patience.abort();
    }
  }
}
