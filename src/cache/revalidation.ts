// Asks upstream whether what is here still holds: once for all requests of the same time, with a short wait when there is
// an answer to fall back on, and not again right after a failure.
import { LRUCache } from "lru-cache";
import type { Clock, Pause } from "../ports/clock.ts";
import { inTime } from "../ports/deadline.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { inSpan } from "../ports/tracing/span.ts";
import { UpstreamError, type UpstreamErrorCode } from "../ports/upstream.ts";
import { boundedByKeys } from "./memory-size.ts";

/** Milliseconds a client waits for upstream while there is a stale answer to give; the question goes on without it. */
const answerTimeout = 1_000;
/** Milliseconds after a failure in which the stale answer is given at once, and more of them at random. */
const failureMemory = 3_000;
const failureJitter = 1_500;
/** Questions of one key under way at once: the next one is asked when one of these has ended. */
const mostSlow = 3;

const notRemembered: ReadonlySet<UpstreamErrorCode> = new Set([
  "circuit_open",
  "rate_limited",
  "loop",
  "offline",
  "drill",
]);

export interface RevalidationOptions {
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
}

export type Revalidated<Value> =
  | { readonly kind: "answered"; readonly value: Value; readonly joined: boolean }
  /** Upstream fails, is slow, or has just failed: what is here is to be given. */
  | { readonly kind: "failed"; readonly reason: UpstreamError };

/** Asks upstream. `counts` is false once the question was forgotten: its answer must not be remembered. */
export type Question<Value> = (counts: () => boolean) => Promise<Value>;

export class Revalidation<Value> {
  readonly #pause: Pause;
  readonly #flights = new SingleFlight<Value>();
  readonly #failures: LRUCache<string, UpstreamError>;
  /** Questions that clients with something to fall back on have ceased to wait for, by key. */
  readonly #slow = new Map<string, Set<Promise<Value>>>();

  constructor({ clock, pause }: RevalidationOptions) {
    this.#pause = pause;
    this.#failures = new LRUCache<string, UpstreamError>({
      ...boundedByKeys,
      ttl: failureMemory,
      ttlResolution: 0,
      perf: { now: clock },
    });
  }

  /** For when there is nothing to fall back on. Rejects with UpstreamError when upstream does not answer. */
  fetch(key: string, ask: Question<Value>): Promise<{ readonly value: Value; readonly joined: boolean }> {
    return inSpan("fetch", {}, async (span) => {
      const { promise, joined } = this.#start(key, ask);
      span?.set({ "entrepot.joined": joined });
      return { value: await promise, joined };
    });
  }

  /** For when there is something to fall back on: resolves with "failed" instead of rejecting, within a second. */
  async refresh(key: string, ask: Question<Value>): Promise<Revalidated<Value>> {
    const failure = this.#failures.get(key);
    if (failure !== undefined) return { kind: "failed", reason: failure };
    if ((this.#slow.get(key)?.size ?? 0) >= mostSlow) return { kind: "failed", reason: tooSlow() };
    try {
      return await inSpan("revalidate", {}, async (span) => {
        const { promise, joined } = this.#start(key, ask);
        span?.set({ "entrepot.joined": joined });
        return { kind: "answered", value: await this.#answer(key, promise), joined } as const;
      });
    } catch (error) {
      if (error instanceof UpstreamError) return { kind: "failed", reason: error };
      throw error;
    }
  }

  /**
   * For when what is here is given already: asks, and nobody waits. Undefined, and nothing is asked, right after a failure and
   * while upstream is slow. The promise is that of the question, which a request that comes meanwhile shares.
   */
  behind(
    key: string,
    ask: Question<Value>,
  ): { readonly promise: Promise<Value>; readonly joined: boolean } | undefined {
    if (this.#failures.has(key) || (this.#slow.get(key)?.size ?? 0) >= mostSlow) return undefined;
    return this.#start(key, ask);
  }

  /** The next request asks upstream: a failure is forgotten, and a question under way is not joined any more. */
  forget(key: string): void {
    this.#flights.detach(key);
    this.#failures.delete(key);
  }

  #start(key: string, ask: Question<Value>): { readonly promise: Promise<Value>; readonly joined: boolean } {
    return this.#flights.run(key, async (counts) => {
      try {
        const value = await ask(counts);
        if (counts()) this.#failures.delete(key);
        this.#slow.delete(key);
        return value;
      } catch (error) {
        if (error instanceof UpstreamError && counts()) this.#remember(key, error);
        throw error;
      }
    });
  }

  /**
   * An open circuit and a rate limit are not remembered: they know themselves when to ask again, and cost nothing until
   * then, as does an upstream that is not asked at all. Neither is a circle of mirrors: it ends at once, and may concern one client only.
   */
  #remember(key: string, error: UpstreamError): void {
    if (notRemembered.has(error.code)) return;
    this.#failures.set(key, error, { ttl: failureMemory + Math.random() * failureJitter });
  }

  async #answer(key: string, flight: Promise<Value>): Promise<Value> {
    if (await inTime(flight, answerTimeout, this.#pause)) return await flight;
    const slow = tooSlow();
    // The next ones wait neither for this flight nor for its time-out: they ask anew when the memory has passed.
    this.#flights.leave(key);
    this.#leave(key, flight);
    this.#remember(key, slow);
    throw slow;
  }

  #leave(key: string, flight: Promise<Value>): void {
    const slow = this.#slow.get(key) ?? new Set();
    this.#slow.set(key, slow.add(flight));
    const ended = (): void => {
      slow.delete(flight);
      if (slow.size === 0 && this.#slow.get(key) === slow) this.#slow.delete(key);
    };
    flight.then(ended, ended);
  }
}

function tooSlow(): UpstreamError {
  return new UpstreamError("timeout", "upstream is slow to confirm what is here");
}
