// So many bytes a second for what one job fetches.
import type { Clock, Pause } from "../../ports/clock.ts";
import type { Pace } from "../../ports/upstream.ts";

/** Bytes a second at least: registries end connections that take next to nothing. */
export const leastRate = 64 * 1024;
/** What was not used may be used at once, in milliseconds of the rate; one chunk (64 KiB at most) may go beyond. */
const burst = 100;

/** A token bucket that all transfers of a job take from. */
export class ByteRate implements Pace {
  readonly #perMillisecond: number;
  readonly #clock: Clock;
  readonly #pause: Pause;
  readonly #signal: AbortSignal;
  /** When all that has come would have come at the rate. */
  #due = Number.NEGATIVE_INFINITY;

  /** `clock`: a steady one. `signal`: nothing is held any more. */
  constructor(bytesPerSecond: number, clock: Clock, pause: Pause, signal: AbortSignal) {
    this.#perMillisecond = Math.max(leastRate, bytesPerSecond) / 1000;
    this.#clock = clock;
    this.#pause = pause;
    this.#signal = signal;
  }

  came(bytes: number): Promise<void> | undefined {
    const now = this.#clock();
    this.#due = Math.max(this.#due, now - burst) + bytes / this.#perMillisecond;
    const wait = this.#due - now;
    return wait <= 0 ? undefined : this.#pause(Math.ceil(wait), this.#signal).catch(() => {});
  }
}
