// Upstreams that do not answer a range with that range, by name: they are not asked for one far ahead of a fill again for
// a while.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../ports/clock.ts";

/** Milliseconds a refusal is remembered. */
const remembered = 10 * 60_000;
/** More than there are upstreams. */
const maxUpstreams = 1_000;

export class RangeRefusals {
  readonly #clock: Clock;
  readonly #at = new LRUCache<string, number>({ max: maxUpstreams });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(upstream: string): boolean {
    const at = this.#at.get(upstream);
    return at !== undefined && this.#clock() - at < remembered;
  }

  add(upstream: string): void {
    this.#at.set(upstream, this.#clock());
  }
}
