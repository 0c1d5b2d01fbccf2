// Whether an upstream can answer at all, and what counts against it. While it cannot, every question fails at once, to be
// answered from the cache where that is possible.
import { Circuit } from "../../ports/circuit.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { CircuitStateName, NoticeSink } from "../../ports/event.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../ports/upstream.ts";

/** Failures in a row that open the circuit, and what each counts: a time-out is the one that costs clients most. */
const limit = 3;
const weights: Readonly<Partial<Record<UpstreamErrorCode, number>>> = { timeout: 2, unreachable: 1 };

/** Milliseconds from the start of one probe to the start of the next, at first and at most. */
const interval = 2_000;
const longestInterval = 4_000;

export interface UpstreamCircuitOptions {
  readonly upstream: string;
  /** Whether upstream gives any answer but a 5xx before the signal aborts. */
  readonly probe: (signal: AbortSignal) => Promise<boolean>;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
  /** From 0 to 1. */
  readonly random?: () => number;
}

export class UpstreamCircuit {
  readonly #options: UpstreamCircuitOptions;
  readonly #circuit: Circuit;
  /** Questions so far, and the latest one that was answered: a failure of one asked before that counts for nothing. */
  #asked = 0;
  #answered = 0;
  /** Questions answered with a 5xx since the last success: one broken image is not a broken upstream. */
  readonly #failing = new Set<string>();

  constructor(options: UpstreamCircuitOptions) {
    this.#options = options;
    const { upstream, notices, clock, pause, random } = options;
    this.#circuit = new Circuit({
      limit,
      weigh: (error) => (error instanceof UpstreamError ? (weights[error.code] ?? 0) : 0),
      refusal: (retryAfter) => {
        const text = `upstream ${upstream} has not answered lately and is not asked for now`;
        return new UpstreamError("circuit_open", text, { retryAfter });
      },
      probe: (signal) => this.#probe(signal),
      interval,
      longestInterval,
      intervalFrom: "start",
      changed: (state, previous) => notices({ kind: "circuit", upstream, state, previous }),
      clock,
      pause,
      random,
    });
  }

  get state(): CircuitStateName {
    return this.#circuit.state;
  }

  /** Throws UpstreamError circuit_open, with the seconds until the next probe, unless upstream may be asked. */
  check(): void {
    this.#circuit.check();
  }

  /** Asks when upstream may be asked, and counts what comes of it. `question` is what a 5xx would be about. */
  async run<T extends { readonly statusCode: number }>(question: string, ask: () => Promise<T>): Promise<T> {
    this.#circuit.check();
    const number = ++this.#asked;
    try {
      const reply = await ask();
      if (isServerError(reply.statusCode)) this.#countServerError(question);
      else this.#succeeded(number);
      return reply;
    } catch (error) {
      if (number > this.#answered) this.#circuit.failed(error);
      throw error;
    }
  }

  /**
   * Goes on in the place of another one, for the same upstream asked in another way: when that one was not closed, a
   * probe of this one decides.
   */
  continue(before: UpstreamCircuit): void {
    if (before.state !== "closed") this.#circuit.count(limit);
  }

  /** Ends the probes, and counts nothing any more. */
  close(): void {
    this.#circuit.close();
  }

  #succeeded(number: number): void {
    this.#answered = Math.max(this.#answered, number);
    this.#failing.clear();
    this.#circuit.succeeded();
  }

  #countServerError(question: string): void {
    if (this.#failing.size >= limit || this.#failing.has(question)) return;
    this.#failing.add(question);
    this.#circuit.count(1);
  }

  async #probe(signal: AbortSignal): Promise<void> {
    const { probe, upstream } = this.#options;
    const number = ++this.#asked;
    if (!(await probe(signal)))
      throw new UpstreamError("unreachable", `upstream ${upstream} still does not answer`);
    this.#succeeded(number);
  }
}

/** 508 is about the way one request took (RFC 5842, section 7.2): an upstream that answers it is well. */
function isServerError(status: number): boolean {
  return status >= 500 && status !== 508;
}
