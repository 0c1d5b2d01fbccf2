// Whether an upstream can answer at all. After failures in a row nobody waits for it any more: every question fails at
// once, to be answered from the cache where that is possible, until a probe of our own gets an answer.
import { type CircuitBreakerPolicy, CircuitState, circuitBreaker, handleWhen } from "cockatiel";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { CircuitStateName, NoticeSink } from "../../ports/event.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../ports/upstream.ts";

/** Failures in a row that open the circuit, and what each counts: a time-out is the one that costs clients most. */
const limit = 3;
const weights: Readonly<Partial<Record<UpstreamErrorCode, number>>> = { timeout: 2, unreachable: 1 };

/**
 * Milliseconds from the start of one probe to the start of the next. A probe has until then, so that an upstream that
 * left one hanging is found out to be back within the longest interval. Each is up to a fifth shorter at random:
 * mirrors that lost an upstream together do not come back together.
 */
const firstInterval = 2_000;
const longestInterval = 4_000;
const growth = 1.5;
const jitter = 0.2;

const names: Readonly<Record<CircuitState, CircuitStateName>> = {
  [CircuitState.Closed]: "closed",
  [CircuitState.Open]: "open",
  [CircuitState.HalfOpen]: "half_open",
  // Nothing here isolates a circuit.
  [CircuitState.Isolated]: "open",
};

export interface CircuitOptions {
  readonly upstream: string;
  /** Whether upstream gives any answer but a 5xx before the signal aborts. */
  readonly probe: (signal: AbortSignal) => Promise<boolean>;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
  /** From 0 to 1. */
  readonly random?: () => number;
}

export class Circuit {
  readonly #options: CircuitOptions;
  readonly #policy: CircuitBreakerPolicy;
  #state: CircuitStateName = "closed";
  #lastSuccess: number | undefined;
  /** Questions so far, and the latest one that was answered: what was asked before it and fails now is no news. */
  #asked = 0;
  #answered = 0;
  #failures = 0;
  /** Questions answered with a 5xx since the last success: one broken image is not a broken upstream. */
  readonly #failing = new Set<string>();
  #nextProbe = 0;
  #turn = new AbortController();
  #closed = false;

  constructor(options: CircuitOptions) {
    this.#options = options;
    const failed = handleWhen((error) => error instanceof UpstreamError).orWhenResult(isServerError);
    this.#policy = circuitBreaker(failed, {
      breaker: {
        state: undefined,
        success: () => this.#forget(),
        failure: () => this.#policy.state === CircuitState.Closed && this.#failures >= limit,
      },
      // When to probe is decided in `#watch`, by a clock that nobody sets back.
      halfOpenAfter: Number.NEGATIVE_INFINITY,
    });
    this.#policy.onStateChange((state) => this.#changed(names[state]));
  }

  get state(): CircuitStateName {
    return this.#state;
  }

  /** When upstream last answered, in the clock's milliseconds; undefined when it has not yet. */
  get lastSuccess(): number | undefined {
    return this.#lastSuccess;
  }

  /** Throws UpstreamError circuit_open, with the seconds until the next probe, unless upstream may be asked. */
  check(): void {
    if (this.#state === "closed") return;
    const left = Math.ceil((this.#nextProbe - this.#options.clock()) / 1000);
    const retryAfter = Math.max(1, Math.min(left, longestInterval / 1000));
    const text = `upstream ${this.#options.upstream} has not answered lately and is not asked for now`;
    throw new UpstreamError("circuit_open", text, { retryAfter });
  }

  /** Asks when upstream may be asked, and counts what comes of it. `question` is what a 5xx would be about. */
  async run<T extends { readonly statusCode: number }>(question: string, ask: () => Promise<T>): Promise<T> {
    this.check();
    const number = ++this.#asked;
    return await this.#policy.execute(async () => {
      try {
        const reply = await ask();
        if (isServerError(reply)) this.#countServerError(question);
        else this.#succeeded(number);
        return reply;
      } catch (error) {
        if (error instanceof UpstreamError && number > this.#answered)
          this.#failures += weights[error.code] ?? 0;
        throw error;
      }
    });
  }

  /** Ends the probes. */
  close(): void {
    this.#closed = true;
    this.#turn.abort();
  }

  #succeeded(number: number): void {
    this.#answered = Math.max(this.#answered, number);
    this.#lastSuccess = this.#options.clock();
  }

  #countServerError(question: string): void {
    if (this.#failing.size >= limit || this.#failing.has(question)) return;
    this.#failing.add(question);
    this.#failures++;
  }

  #forget(): void {
    this.#failures = 0;
    this.#failing.clear();
  }

  #changed(state: CircuitStateName): void {
    const previous = this.#state;
    this.#state = state;
    const { notices, upstream } = this.#options;
    notices({ kind: "circuit", upstream, state, previous });
    if (previous === "closed") void this.#watch();
  }

  /** Probes until upstream answers. Never rejects. */
  async #watch(): Promise<void> {
    const { clock, pause, random = Math.random } = this.#options;
    let alive = false;
    for (let next = 0, interval = firstInterval; !alive && !this.#closed; next++) {
      const turn = new AbortController();
      this.#turn = turn;
      const length = interval * (1 - jitter * random());
      this.#nextProbe = clock() + length;
      const over = pause(length, turn.signal).then(
        () => turn.abort(),
        () => {},
      );
      alive = next > 0 && (await this.#probe(turn.signal));
      if (alive) turn.abort();
      await over;
      interval = Math.min(interval * growth, longestInterval);
    }
  }

  async #probe(signal: AbortSignal): Promise<boolean> {
    const { probe, upstream } = this.#options;
    const number = ++this.#asked;
    try {
      await this.#policy.execute(async () => {
        if (!(await probe(signal))) {
          throw new UpstreamError("unreachable", `upstream ${upstream} still does not answer`);
        }
        this.#succeeded(number);
      });
      return true;
    } catch {
      return false;
    }
  }
}

/** 508 is about the way one request took (RFC 5842, section 7.2): who answers it is well. */
function isServerError(reply: unknown): boolean {
  const { statusCode } = (reply ?? {}) as { readonly statusCode?: number };
  return statusCode !== undefined && statusCode >= 500 && statusCode !== 508;
}
