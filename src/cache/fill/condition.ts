// A condition variable: wakes everything that waits when something has changed. Each waiter then checks for itself.
import type { Pause } from "../../ports/clock.ts";

export class Condition {
  #next = Promise.withResolvers<void>();
  #soon: NodeJS.Timeout | undefined;

  /** Resolves at the next `notify`. */
  get notified(): Promise<void> {
    return this.#next.promise;
  }

  /** Notifies within `milliseconds`, once for every call meanwhile; not at all when `notify` is called before that. */
  notifySoon(milliseconds: number): void {
    this.#soon ??= setTimeout(() => this.notify(), milliseconds);
  }

  notify(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    const current = this.#next;
    this.#next = Promise.withResolvers();
    current.resolve();
  }

  /**
   * True as soon as `holds` returns true, which is called now and at every `notify`; false after `milliseconds` without
   * that.
   */
  async within(milliseconds: number, pause: Pause, holds: () => boolean): Promise<boolean> {
    const waiting = new AbortController();
    let late = false;
    const over = pause(milliseconds, waiting.signal).then(
      () => {
        late = true;
      },
      () => {},
    );
    try {
      while (!late) {
        if (holds()) return true;
        await Promise.race([over, this.notified]);
      }
      return false;
    } finally {
      waiting.abort();
    }
  }
}
