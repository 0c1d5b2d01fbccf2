// How fast a transfer has been lately: what tells whether a byte will come soon.
import type { Clock } from "../../ports/clock.ts";

/** Milliseconds of one interval. The rate is that of the interval under way and the one before. */
const interval = 500;
/** Fewer milliseconds say nothing. */
const shortest = 100;

export class Speed {
  readonly #clock: Clock;
  #since: number;
  #last: number;
  #bytes = 0;
  /** The interval before. */
  #before = { bytes: 0, milliseconds: 0 };

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock();
    this.#last = this.#since;
  }

  /** Takes note of bytes that have come. */
  note(bytes: number): void {
    this.#bytes += bytes;
    const now = this.#clock();
    this.#last = now;
    if (now - this.#since < interval) return;
    this.#before = { bytes: this.#bytes, milliseconds: now - this.#since };
    this.#since = now;
    this.#bytes = 0;
  }

  /** Milliseconds since bytes have come; from the beginning while none have. */
  get silentFor(): number {
    return Math.max(0, this.#clock() - this.#last);
  }

  /** In bytes a millisecond; undefined while too little time has passed. */
  get rate(): number | undefined {
    const milliseconds = this.#before.milliseconds + this.#clock() - this.#since;
    return milliseconds < shortest ? undefined : (this.#before.bytes + this.#bytes) / milliseconds;
  }
}
