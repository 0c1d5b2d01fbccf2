// How fast bytes have come from one place lately, over all of its transfers: what tells the cheaper of two places.
import type { Clock } from "../../ports/clock.ts";

/** Fewer bytes say more of the round trip than of the rate. */
const leastBytes = 64 * 1024;
/** Share of the newest measurement in the mean. */
const newest = 0.3;
/** Milliseconds after the last measurement in which the mean counts. */
const counts = 10 * 60_000;

export class MeasuredRate {
  readonly #clock: Clock;
  #mean = 0;
  #at = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** So many bytes have come while they were waited for so many milliseconds. */
  note(bytes: number, milliseconds: number): void {
    if (bytes < leastBytes) return;
    const rate = bytes / Math.max(milliseconds, 1);
    const before = this.now;
    this.#mean = before === undefined ? rate : newest * rate + (1 - newest) * before;
    this.#at = this.#clock();
  }

  /** Bytes a millisecond; undefined: not measured within ten minutes. */
  get now(): number | undefined {
    return this.#clock() - this.#at < counts ? this.#mean : undefined;
  }
}
