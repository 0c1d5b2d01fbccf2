// A circuit breaker: after failures in a row a service is not asked any more, and every question fails at once, until a
// probe of our own has got an answer. No client ever waits for a probe.
import type { Clock, Pause } from "./clock.ts";
import type { CircuitStateName } from "./event.ts";

/** How much shorter an interval may be, at random: nodes that lost a service together do not come back together. */
const jitter = 0.2;
const growth = 1.5;

export interface CircuitOptions {
  /** What failures in a row have to count together to open the circuit. */
  readonly limit: number;
  /** What an error of `run` counts; "answer" for one that shows that the service works. */
  readonly weigh: (error: unknown) => number | "answer";
  /** What `check` throws. `retryAfter`: whole seconds until the next probe, from 1 to the longest interval. */
  readonly refusal: (retryAfter: number) => Error;
  /** Rejects while the service does not work. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** Milliseconds before the first probe and between two. */
  readonly interval: number;
  /**
   * "end": the interval begins when a probe has ended, which it does in bounded time by itself. "start": it begins with
   * the probe, whose signal aborts when the interval is over, so that a service that left a probe hanging is found to be
   * back within the longest interval.
   */
  readonly intervalFrom: "start" | "end";
  /** The intervals grow by half until they are this long. Left out: they do not grow. */
  readonly longestInterval?: number;
  /** Called with every change of state. */
  readonly changed?: ((state: CircuitStateName, previous: CircuitStateName) => void) | undefined;
  readonly pause: Pause;
  /** By which `retryAfter` is counted. Default: the machine's. */
  readonly clock?: Clock;
  /** From 0 to 1. */
  readonly random?: (() => number) | undefined;
}

export class Circuit {
  readonly #options: CircuitOptions;
  readonly #clock: Clock;
  readonly #longestInterval: number;
  #state: CircuitStateName = "closed";
  #failures = 0;
  #nextProbe = 0;
  #turn = new AbortController();
  #ended = false;

  constructor(options: CircuitOptions) {
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
    this.#longestInterval = options.longestInterval ?? options.interval;
  }

  /** `closed`: the service is asked; `open`: it is not; `half_open`: it is not, and a probe is under way. */
  get state(): CircuitStateName {
    return this.#state;
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Throws what `refusal` makes unless the service may be asked. */
  check(): void {
    if (this.#state === "closed") return;
    const left = Math.ceil((this.#nextProbe - this.#clock()) / 1000);
    throw this.#options.refusal(Math.max(1, Math.min(left, this.#longestInterval / 1000)));
  }

  /** Checks, asks, and counts what comes of it. Rejects as `check` throws, and as `ask` does. */
  async run<T>(ask: () => Promise<T>): Promise<T> {
    this.check();
    try {
      const answer = await ask();
      this.succeeded();
      return answer;
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }

  /** The service has answered: counting begins anew. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** An error `run` has not seen, such as one in the middle of an answer that began well. */
  failed(error: unknown): void {
    const weight = this.#options.weigh(error);
    if (weight === "answer") this.succeeded();
    else this.count(weight);
  }

  /** A failure that is no error. What was asked before the circuit opened and fails after that counts for nothing. */
  count(weight: number): void {
    if (this.#state !== "closed" || this.#ended) return;
    this.#failures += weight;
    if (this.#failures < this.#options.limit) return;
    this.#change("open");
    void this.#watch();
  }

  /** Ends the probes. The state stays as it is from now on. */
  close(): void {
    this.#ended = true;
    this.#turn.abort();
  }

  #change(state: CircuitStateName): void {
    const previous = this.#state;
    this.#state = state;
    this.#options.changed?.(state, previous);
  }

  /** Probes until the service answers. Never rejects. */
  async #watch(): Promise<void> {
    const { interval, intervalFrom, pause, random = Math.random } = this.#options;
    let alive = false;
    for (let turns = 0, length = interval; !alive && !this.#ended; turns++) {
      const turn = new AbortController();
      this.#turn = turn;
      if (turns > 0 && intervalFrom === "end" && (await this.#probe(turn.signal))) return;
      const milliseconds = length * (1 - jitter * random());
      this.#nextProbe = this.#clock() + milliseconds;
      const over = pause(milliseconds, turn.signal).then(
        () => turn.abort(),
        () => {},
      );
      alive = turns > 0 && intervalFrom === "start" && (await this.#probe(turn.signal));
      if (alive) turn.abort();
      await over;
      length = Math.min(length * growth, this.#longestInterval);
    }
  }

  async #probe(signal: AbortSignal): Promise<boolean> {
    this.#change("half_open");
    try {
      await this.#options.probe(signal);
    } catch {
      this.#change("open");
      return false;
    }
    this.succeeded();
    this.#change("closed");
    return true;
  }
}
