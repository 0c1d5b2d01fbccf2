// Waiting for another node to give a lease back, without asking for the lease again and again.
import type { Announcements } from "../../ports/shared.ts";

export class Releases {
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(announcements: Announcements) {
    announcements.subscribe(
      (announcement) => {
        if (announcement.kind !== "released") return;
        for (const resolve of this.#waiting.get(announcement.key) ?? []) resolve();
      },
      () => {},
    );
  }

  /** Resolves when another node says that it has given the lease back, or when the signal aborts. */
  async released(key: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting.add(resolve));
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    waiting.delete(resolve);
    if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
  }
}
