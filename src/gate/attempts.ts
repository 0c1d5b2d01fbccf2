// The attempts of each address to prove itself, as tokens of a bucket that fills itself.
import { LRUCache } from "lru-cache";
import type { Clock } from "../ports/clock.ts";

/** Milliseconds after which one that has failed is forgotten; one that was right is forgotten at once. */
const forgottenEvery = 1_000;
/** Addresses whose attempts are counted. */
const maxAddresses = 10_000;

export class Attempts {
  readonly #most: number;
  readonly #clock: Clock;
  readonly #made: LRUCache<string, { count: number; at: number }>;

  /** `most`: that have failed or are under way, for one address. */
  constructor(most: number, clock: Clock) {
    this.#most = most;
    this.#clock = clock;
    this.#made = new LRUCache({ max: maxAddresses });
  }

  /** False when there were too many. */
  begin(network: string): boolean {
    const now = this.#clock();
    const { count, at } = this.#made.get(network) ?? { count: 0, at: now };
    const forgotten = Math.floor((now - at) / forgottenEvery);
    const left = Math.max(0, count - forgotten);
    // With nothing left the clock of forgetting starts anew.
    const since = left === 0 ? now : at + forgotten * forgottenEvery;
    const taken = left < this.#most;
    this.#made.set(network, { count: left + (taken ? 1 : 0), at: since });
    return taken;
  }

  /** One of them was right, or was not checked. */
  takeBack(network: string): void {
    const made = this.#made.get(network);
    if (made !== undefined && made.count > 0) made.count--;
  }
}
