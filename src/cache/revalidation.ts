// Asking upstream whether what is here still holds: once for all who ask at the same time, never longer than clients
// with something in hand would wait, and not again right after it failed.
import { LRUCache } from "lru-cache";
import type { Clock, Pause } from "../ports/clock.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { UpstreamError, type UpstreamErrorCode } from "../ports/upstream.ts";
import { boundedByKeys } from "./memory-size.ts";

/** With a stale answer in hand, clients wait this long for upstream; the question goes on behind them. */
const patience = 1_000;
/** After a failure the stale answer is given at once for this long, and for half as long again at random. */
const failureMemory = 3_000;
const failureJitter = 1_500;

/** Not remembered. */
const selfEvident: ReadonlySet<UpstreamErrorCode> = new Set(["circuit_open", "rate_limited", "loop"]);

export interface RevalidationOptions {
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
}

export type Revalidated<Value> =
  | { readonly kind: "answered"; readonly value: Value; readonly joined: boolean }
  /** Upstream failed, is slow, or has failed just now: give what is in hand. */
  | { readonly kind: "failed"; readonly reason: UpstreamError };

/** Asks upstream. `counts` is false once the question was forgotten: its answer must not be remembered. */
export type Question<Value> = (counts: () => boolean) => Promise<Value>;

export class Revalidation<Value> {
  readonly #pause: Pause;
  readonly #flights = new SingleFlight<Value>();
  readonly #failures: LRUCache<string, UpstreamError>;

  constructor({ clock, pause }: RevalidationOptions) {
    this.#pause = pause;
    this.#failures = new LRUCache<string, UpstreamError>({
      ...boundedByKeys,
      ttl: failureMemory,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** Nothing in hand: rejects with UpstreamError when upstream does not answer. */
  async fetch(
    key: string,
    ask: Question<Value>,
  ): Promise<{ readonly value: Value; readonly joined: boolean }> {
    const { promise, joined } = this.#start(key, ask);
    return { value: await promise, joined };
  }

  /** Something in hand: "failed" instead of a rejection, after a second of patience at most. */
  async refresh(key: string, ask: Question<Value>): Promise<Revalidated<Value>> {
    const failure = this.#failures.get(key);
    if (failure !== undefined) return { kind: "failed", reason: failure };
    const { promise, joined } = this.#start(key, ask);
    try {
      return { kind: "answered", value: await this.#inTime(key, promise), joined };
    } catch (error) {
      if (error instanceof UpstreamError) return { kind: "failed", reason: error };
      throw error;
    }
  }

  /** The next question goes upstream: a failure is forgotten, and a question under way is not joined any more. */
  forget(key: string): void {
    this.#flights.detach(key);
    this.#failures.delete(key);
  }

  #start(key: string, ask: Question<Value>): { readonly promise: Promise<Value>; readonly joined: boolean } {
    return this.#flights.run(key, async (counts) => {
      try {
        const value = await ask(counts);
        if (counts()) this.#failures.delete(key);
        return value;
      } catch (error) {
        if (error instanceof UpstreamError && counts()) this.#remember(key, error);
        throw error;
      }
    });
  }

  /**
   * An open circuit and a limit are left out: they know themselves when to ask again, and cost nothing till then. So is
   * a circle, which ends at once, and may be that of one client alone.
   */
  #remember(key: string, error: UpstreamError): void {
    if (selfEvident.has(error.code)) return;
    this.#failures.set(key, error, { ttl: failureMemory + Math.random() * failureJitter });
  }

  async #inTime(key: string, flight: Promise<Value>): Promise<Value> {
    const waiting = new AbortController();
    const late = this.#pause(patience, waiting.signal).then(
      () => true,
      () => false,
    );
    try {
      const inTime = await Promise.race([flight.then(() => true), late.then((isLate) => !isLate)]);
      if (inTime) return await flight;
      const slow = new UpstreamError("timeout", "upstream is slow to confirm what is here");
      // The next ones wait neither for this flight nor for its time-out: they ask anew when the memory has passed.
      this.#flights.leave(key);
      this.#remember(key, slow);
      throw slow;
    } finally {
      flight.catch(() => {});
      waiting.abort();
    }
  }
}
