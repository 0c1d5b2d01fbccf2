// How fast the one transfer of a blob is, and whether several would bring the rest sooner. That cannot be told from how
// fast it began: TCP's slow start is.
import type { Clock } from "./ports.ts";

/** Milliseconds over which the rate of a single transfer is measured, again and again. */
const watching = 250;
/** What would still take this many milliseconds in one transfer is worth more of them, */
const long = 2_000;
/** if it is at least so many bytes, */
const leastLeft = 4 * 1024 * 1024;
/** and unless the event loop is busy for more than this share of the time: then it is this node that is slow. */
const busy = 0.7;
/** A rate that rises by more than this is that of a stream that has not found its speed. */
const rising = 1.25;
/**
 * A rate that changes by less than this share from one interval to the next, twice, is that of a full link, or of an
 * upstream that grants no more: losses make it go up and down. Several transfers help with the latter only, so much has
 * to be left: what a server has sent ahead when its transfer is cut off is lost, on a full link some MiB.
 */
const even = 0.06;
const muchLeft = 256 * 1024 * 1024;

/** How fast one transfer is. */
export class Pace {
  readonly #clock: Clock;
  readonly #load: () => number;
  #bytes = 0;
  #since: number;
  /** Bytes a millisecond of the last interval, and of the one before. */
  #rate = 0;
  #rateBefore = 0;
  #intervals = 0;

  /** `load`: share of the time since its last call in which the event loop was busy. */
  constructor(clock: Clock, load: () => number) {
    this.#clock = clock;
    this.#load = load;
    this.#since = clock();
    load();
  }

  /** Takes note of bytes that have come; whether the `left` bytes still to come will take long as things go. */
  slow(bytes: number, left: number): boolean {
    this.#bytes += bytes;
    const now = this.#clock();
    const elapsed = now - this.#since;
    if (elapsed < watching) return false;
    const before = this.#rate;
    const rate = this.#bytes / elapsed;
    const isEven = [before, this.#rateBefore].every((other) => Math.abs(rate - other) < rate * even);
    this.#rateBefore = before;
    this.#rate = rate;
    this.#bytes = 0;
    this.#since = now;
    const idle = this.#load() < busy;
    // Two intervals tell nothing of evenness yet.
    if (this.#intervals++ < 2 || rate > before * rising) return false;
    const least = isEven ? muchLeft : leastLeft;
    return idle && left >= least && left > rate * long;
  }

  /** Whether the `left` bytes will take long, even if the stream still doubles its speed. */
  slowAtBest(left: number): boolean {
    const elapsed = this.#clock() - this.#since;
    const rate = Math.max(this.#rate, elapsed > 0 ? this.#bytes / elapsed : 0);
    return left >= leastLeft && left > 2 * rate * long;
  }
}
