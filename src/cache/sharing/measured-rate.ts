// How fast bytes have come from one place lately, over all of its transfers: what tells the cheaper of two places.
import type { Clock } from "../../ports/clock.ts";

/** Milliseconds: what came in fewer had come before it was waited for. */
const leastTime = 20;
/** Fewer bytes in less than so many milliseconds say more of the round trip than of the rate. */
const leastBytes = 64 * 1024;
const enoughTime = 1_000;
/** Milliseconds of waiting after which what was measured before counts half. */
const halfLife = 2_000;
/** Milliseconds after the last measurement in which the rate counts. */
const counts = 10 * 60_000;

export class MeasuredRate {
  readonly #clock: Clock;
  /** Of all measurements, the older ones counting for less. */
  #bytes = 0;
  #milliseconds = 0;
  #at = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** So many bytes have come while they were waited for so many milliseconds. */
  note(bytes: number, milliseconds: number): void {
    if (milliseconds < leastTime || (bytes < leastBytes && milliseconds < enoughTime)) return;
    const before = this.now === undefined ? 0 : 0.5 ** (milliseconds / halfLife);
    this.#bytes = bytes + before * this.#bytes;
    this.#milliseconds = milliseconds + before * this.#milliseconds;
    this.#at = this.#clock();
  }

  /** Bytes a millisecond; undefined: not measured within ten minutes. */
  get now(): number | undefined {
    return this.#clock() - this.#at < counts ? this.#bytes / this.#milliseconds : undefined;
  }
}
