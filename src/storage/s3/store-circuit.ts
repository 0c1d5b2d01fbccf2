// Whether a shared store is asked at all. After failures in a row nobody waits for it any more: every question fails at
// once, and a probe of our own finds out when it is back. As for upstreams (upstream/connection/circuit.ts), no client ever waits
// for a probe.
import {
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
} from "cockatiel";
import { StoreError } from "../../ports/blobs.ts";
import type { Pause } from "../../ports/clock.ts";
import type { CircuitStateName } from "../../ports/event.ts";

/** Failures in a row that open the circuit. */
const limit = 3;
/** Milliseconds before each probe, up to a fifth shorter at random: nodes do not come back together. */
const probeInterval = 2_000;
const jitter = 0.2;

const names: Readonly<Record<CircuitState, CircuitStateName>> = {
  [CircuitState.Closed]: "closed",
  [CircuitState.Open]: "open",
  [CircuitState.HalfOpen]: "half_open",
  // Nothing here isolates a circuit.
  [CircuitState.Isolated]: "open",
};

export interface StoreCircuitOptions {
  /** For messages, such as `S3 bucket x`. */
  readonly store: string;
  /** Which failures count. */
  readonly isOutage: (error: unknown) => boolean;
  /** Rejects while the store does not work; within a bounded time. */
  readonly probe: () => Promise<void>;
  readonly pause: Pause;
  /** Told of every change. */
  readonly changed?: ((state: CircuitStateName, previous: CircuitStateName) => void) | undefined;
}

export class StoreCircuit {
  readonly #options: StoreCircuitOptions;
  readonly #policy: CircuitBreakerPolicy;
  readonly #closing = new AbortController();
  #state: CircuitStateName = "closed";

  constructor(options: StoreCircuitOptions) {
    this.#options = options;
    this.#policy = circuitBreaker(
      handleWhen((error) => options.isOutage(error)),
      {
        breaker: new ConsecutiveBreaker(limit),
        // When to probe is decided in `#watch`, by a clock that nobody sets back.
        halfOpenAfter: Number.NEGATIVE_INFINITY,
      },
    );
    this.#policy.onStateChange((state) => this.#changed(names[state]));
  }

  /** `closed`: the store is asked; `open`: it is not; `half_open`: a probe is under way. */
  get state(): CircuitStateName {
    return this.#state;
  }

  /** Asks when the store may be asked, else rejects at once with StoreError unavailable; counts what comes of it. */
  async run<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#state !== "closed") {
      throw new StoreError(
        "unavailable",
        `${this.#options.store} has not answered lately and is not asked for now`,
      );
    }
    return await this.#policy.execute(ask);
  }

  /** An answer that began well has failed since. */
  failed(error: unknown): void {
    if (this.#state !== "closed") return;
    this.#policy.execute(() => Promise.reject(error)).catch(() => {});
  }

  /** Ends the probes. */
  close(): void {
    this.#closing.abort();
  }

  #changed(state: CircuitStateName): void {
    const previous = this.#state;
    this.#state = state;
    this.#options.changed?.(state, previous);
    if (previous === "closed") void this.#watch();
  }

  /** Probes until the store works. Never rejects. */
  async #watch(): Promise<void> {
    const { pause, probe } = this.#options;
    const { signal } = this.#closing;
    while (this.#state !== "closed" && !signal.aborted) {
      await pause(probeInterval * (1 - jitter * Math.random()), signal).catch(() => {});
      if (!signal.aborted) await this.#policy.execute(probe).catch(() => {});
    }
  }
}
