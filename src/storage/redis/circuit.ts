// Whether Redis is asked at all. A server that is connected and does not answer costs each question its time-out; after
// a few in a row nobody asks any more until a probe of our own has got an answer.
import { type CircuitBreakerPolicy, CircuitState, circuitBreaker, handleAll } from "cockatiel";
import type { Pause } from "../../ports/clock.ts";

/** Questions in a row that nobody answered. */
const limit = 3;
/** Milliseconds between probes; each up to a fifth shorter at random. */
const interval = 1_000;
const jitter = 0.2;

export interface RedisCircuitOptions {
  /** Drops connections that may be stuck; called when the circuit opens and after each failed probe. */
  readonly reset: () => void;
  /** Rejects, in bounded time, when Redis does not answer. */
  readonly probe: () => Promise<unknown>;
  readonly changed: () => void;
  readonly pause: Pause;
}

export class RedisCircuit {
  readonly #options: RedisCircuitOptions;
  readonly #policy: CircuitBreakerPolicy;
  readonly #closing = new AbortController();
  #unanswered = 0;
  #watching = false;

  constructor(options: RedisCircuitOptions) {
    this.#options = options;
    this.#policy = circuitBreaker(handleAll, {
      breaker: {
        state: undefined,
        success: () => {
          this.#unanswered = 0;
        },
        failure: () => this.#policy.state === CircuitState.Closed && this.#unanswered >= limit,
      },
      // When to probe is decided in `#watch`.
      halfOpenAfter: Number.NEGATIVE_INFINITY,
    });
    this.#policy.onStateChange((state) => {
      if (state !== CircuitState.HalfOpen) options.changed();
    });
    this.#policy.onBreak(() => {
      if (!this.#watching) void this.#watch();
    });
  }

  get isClosed(): boolean {
    return this.#policy.state === CircuitState.Closed;
  }

  /** Asks, and counts when nobody answers. Only when the circuit is closed. */
  run<T>(ask: () => Promise<T>): Promise<T> {
    return this.#policy.execute(async () => {
      try {
        return await ask();
      } catch (error) {
        // A refusal and a closed connection come at once: they cost nobody time.
        this.#unanswered = isTimeout(error) ? this.#unanswered + 1 : 0;
        throw error;
      }
    });
  }

  /** Ends the probes. */
  close(): void {
    this.#closing.abort();
  }

  /** Never rejects. */
  async #watch(): Promise<void> {
    const { pause, probe, reset } = this.#options;
    const { signal } = this.#closing;
    this.#watching = true;
    while (!this.isClosed && !signal.aborted) {
      reset();
      await pause(interval * (1 - jitter * Math.random()), signal).catch(() => {});
      if (!signal.aborted) await this.#policy.execute(probe).catch(() => {});
    }
    this.#watching = false;
  }
}

/** ioredis has no class or code for it. */
function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === "Command timed out";
}
