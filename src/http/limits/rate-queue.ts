// So much a second for one caller, or for several together; what is over waits, by turns of the callers. A token bucket:
// what was not used before may be used at once, up to a bound.
import type { Clock } from "../../ports/clock.ts";
import type { After } from "../fair-queue.ts";

export interface Rate {
  readonly perSecond: number;
  /** Most that may be used at once. */
  readonly burst: number;
}

/** One that waits. */
export interface Waiting {
  /** Resolves when it may go on; also when it has left. */
  readonly turn: Promise<void>;
  /** It waits no longer. Idempotent. */
  leave(): void;
}

interface Entry {
  readonly amount: number;
  readonly goOn: () => void;
}

export class RateQueue {
  readonly #rate: Rate;
  readonly #clock: Clock;
  readonly #after: After;
  #credit: number;
  #at: number;
  /** By caller, whose turn is next first. */
  readonly #waiting = new Map<string, Set<Entry>>();
  #stop: (() => void) | undefined;

  /** `clock`: a steady one. */
  constructor(rate: Rate, clock: Clock, after: After) {
    this.#rate = rate;
    this.#clock = clock;
    this.#after = after;
    this.#credit = rate.burst;
    this.#at = clock();
  }

  /** Seconds until one more of the caller would have its turn, as far as is known now. */
  waitOf(caller: string): number {
    const own = this.#waiting.get(caller)?.size ?? 0;
    const others = this.#waiting.size - (own > 0 ? 1 : 0);
    return ((own + 1) * (others + 1)) / this.#rate.perSecond;
  }

  /** Undefined: it may go on. */
  enter(caller: string, amount: number): Waiting | undefined {
    this.#refill();
    if (this.#waiting.size === 0 && this.#pay(amount)) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    const entry = { amount, goOn: resolve };
    const own = this.#waiting.get(caller) ?? new Set();
    this.#waiting.set(caller, own.add(entry));
    this.#schedule();
    const leave = (): void => {
      if (own.delete(entry) && own.size === 0 && this.#waiting.get(caller) === own)
        this.#waiting.delete(caller);
      resolve();
    };
    return { turn: promise, leave };
  }

  /** Counts what was used without waiting; that others wait for it is bounded by `burst`. */
  use(amount: number): void {
    this.#refill();
    this.#credit = Math.max(this.#credit - amount, -this.#rate.burst);
  }

  #pay(amount: number): boolean {
    if (this.#credit < Math.min(amount, this.#rate.burst)) return false;
    this.#credit -= amount;
    return true;
  }

  #refill(): void {
    const now = this.#clock();
    const { perSecond, burst } = this.#rate;
    this.#credit = Math.min(burst, this.#credit + (Math.max(0, now - this.#at) / 1000) * perSecond);
    this.#at = now;
  }

  #serve(): void {
    this.#stop = undefined;
    this.#refill();
    for (const [caller, own] of this.#waiting) {
      const [entry] = own;
      if (entry === undefined || !this.#pay(entry.amount)) break;
      own.delete(entry);
      this.#waiting.delete(caller);
      // Behind the other callers. The loop still comes to it: a Map iterates over what is added.
      if (own.size > 0) this.#waiting.set(caller, own);
      entry.goOn();
    }
    this.#schedule();
  }

  #schedule(): void {
    const [own] = this.#waiting.values();
    const [next] = own ?? [];
    if (next === undefined || this.#stop !== undefined) return;
    const { perSecond, burst } = this.#rate;
    const missing = Math.min(next.amount, burst) - this.#credit;
    this.#stop = this.#after(Math.max(1, Math.ceil((missing / perSecond) * 1000)), () => this.#serve());
  }
}
