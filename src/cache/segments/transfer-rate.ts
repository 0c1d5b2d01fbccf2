// How fast the one transfer of a blob is, and whether several would bring the rest sooner. Its first rate does not tell
// that: TCP starts slowly.
import type { Clock } from "../../ports/clock.ts";

/**
 * Milliseconds of one interval, over which the rate is measured: also so many round trips, since TCP hands nothing on for one
 * while a packet is missing.
 */
const interval = 250;
const intervalTrips = 4;
/** When the event loop is busy for more than this share of the time, this node itself is what is slow. */
const busy = 0.7;
/**
 * A rate below this share of the best one is that of a stream that lost packets: the link can do more. Several transfers
 * are then worth it for a rest that would take so many milliseconds and is at least so many bytes.
 */
const fallen = 1 / 3;
const longFallen = 1_000;
const leastFallen = 512 * 1024;
/**
 * The same for a stream that has never been faster: the link may be full. Also so many round trips, of which others need some
 * ten to begin and to end.
 */
const long = 2_000;
const longTrips = 50;
const leastLeft = 4 * 1024 * 1024;
/**
 * A rate that rises by more than this factor is that of a stream that has not found its speed, or has just recovered a lost
 * packet. That of a slow stream rises by up to 40 % while TCP avoids congestion: a packet more each round trip.
 */
const rising = 1.5;
/**
 * A rate that changes by less than this share from one interval to the next, twice, is that of a full link, or of an
 * upstream that grants no more: losses make it go up and down. Several transfers help with the latter only, and on a full
 * link lose what servers have sent ahead of transfers that are cut off. So they are worth it only for a very long rest.
 */
const even = 0.06;
const muchLeft = 256 * 1024 * 1024;
/**
 * A stream that loses nothing starts with ten packets (RFC 6928) and brings twice as many each round trip (RFC 5681, section
 * 3.1). So many round trips more are allowed for the answer's head and for acknowledgements that are held back.
 */
const firstFlight = 14_600;
const startSlack = 2;

export interface TransferRateOptions {
  readonly clock: Clock;
  /** Share of the time since its last call in which the event loop was busy, 0 to 1. */
  readonly load: () => number;
  /** Milliseconds to upstream and back; undefined: not known. */
  readonly roundTrip?: number | undefined;
}

/** How fast one transfer is. */
export class TransferRate {
  readonly #clock: Clock;
  readonly #load: () => number;
  readonly #roundTrip: number;
  /** When the transfer began to send, and the bytes since. */
  readonly #began: number;
  #total = 0;
  /** When this interval began; undefined until bytes come. */
  #since: number | undefined;
  #bytes = 0;
  /** In bytes a millisecond, of the last interval and of the one before. */
  #rate = 0;
  #rateBefore = 0;
  /** The mean of the best two in a row. */
  #best = 0;
  /** Intervals since the rate stopped rising. */
  #steady = 0;

  constructor({ clock, load, roundTrip = 0 }: TransferRateOptions) {
    this.#clock = clock;
    this.#load = load;
    this.#roundTrip = roundTrip;
    this.#began = clock();
    this.#since = this.#began;
    load();
  }

  /** Milliseconds, or so many round trips if that is longer. */
  #atLeast(milliseconds: number, roundTrips: number): number {
    return Math.max(milliseconds, roundTrips * this.#roundTrip);
  }

  /** Takes note of bytes that have come. Whether the `left` bytes still to come will take long at this rate. */
  slow(bytes: number, left: number): boolean {
    const now = this.#clock();
    this.#total += bytes;
    if (this.#since === undefined) {
      this.#since = now;
      return false;
    }
    this.#bytes += bytes;
    const elapsed = now - this.#since;
    if (elapsed < this.#atLeast(interval, intervalTrips)) return false;
    const rate = this.#bytes / elapsed;
    this.#since = now;
    this.#bytes = 0;
    const idle = this.#load() < busy;
    return this.#judge(rate, left) && idle;
  }

  #judge(rate: number, left: number): boolean {
    const [before, earlier] = [this.#rate, this.#rateBefore];
    this.#rateBefore = before;
    this.#rate = rate;
    // TCP hands nothing on while a packet is missing, and then much at once: one interval alone says little.
    const both = (rate + before) / 2;
    this.#best = Math.max(this.#best, both);
    if (both < this.#best * fallen) return left >= leastFallen && left > both * longFallen;
    this.#steady = rate > before * rising ? 0 : this.#steady + 1;
    // Evenness needs three intervals.
    if (this.#steady < 2) return false;
    const isEven = [before, earlier].every((other) => Math.abs(rate - other) < rate * even);
    return left >= (isEven ? muchLeft : leastLeft) && left > rate * this.#atLeast(long, longTrips);
  }

  /** The transfer is over: the time until the next one sends does not count. */
  interrupt(): void {
    this.#since = undefined;
    this.#bytes = 0;
  }

  /**
   * Whether the `left` bytes will take long, even if the stream still doubles its speed. Not while it has come as fast as
   * TCP starts: how fast it will be is not known then.
   */
  slowAtBest(left: number): boolean {
    const start = this.#roundTrip * (Math.log2(1 + this.#total / firstFlight) + startSlack);
    if (this.#clock() - this.#began < start) return false;
    const elapsed = this.#since === undefined ? 0 : this.#clock() - this.#since;
    const rate = Math.max(this.#rate, elapsed > 0 ? this.#bytes / elapsed : 0);
    return left >= leastLeft && left > 2 * rate * this.#atLeast(long, longTrips);
  }
}
