// The simulated long link of the demo: every request waits a round trip, and all bodies share one bandwidth.
import { setTimeout as delay } from "node:timers/promises";

export interface LinkOptions {
  /** Added to every request, milliseconds. */
  readonly roundTripMs: number;
  /** Shared by all connections, in both directions together. */
  readonly bytesPerSecond: number;
}

export interface Link {
  readonly options: LinkOptions;
  /** Resolves after one round trip. */
  roundTrip(signal: AbortSignal): Promise<void>;
  /** The body in slices of at most 32 KiB, each given out when the link has room for it. */
  carry(body: Buffer, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined>;
}

/** Resolves after the milliseconds; rejects when the signal aborts. */
type Wait = (milliseconds: number, signal: AbortSignal) => Promise<void>;

/** Small enough that connections take turns fairly, large enough that timers cost little. */
const sliceSize = 32 * 1024;

/** Timers fire a little late; an idle credit this long lets the link keep its mean rate all the same. */
const creditMs = 20;

/**
 * Makes a link. Slices are booked one after another on one time line, so each of N busy connections gets 1/N of
 * the bandwidth. A connection has at most one slice waiting: the longest wait is N slices.
 */
export function makeLink(
  options: LinkOptions,
  now: () => number = () => performance.now(),
  pause: Wait = (milliseconds, signal) => delay(milliseconds, undefined, { signal }),
): Link {
  let freeAt = 0;
  async function takeTurn(bytes: number, signal: AbortSignal): Promise<void> {
    freeAt = Math.max(freeAt, now() - creditMs) + (bytes / options.bytesPerSecond) * 1000;
    const wait = freeAt - now();
    if (wait >= 1) await pause(wait, signal);
  }
  return {
    options,
    async roundTrip(signal) {
      if (options.roundTripMs > 0) await pause(options.roundTripMs, signal);
    },
    async *carry(body, signal) {
      for (let at = 0; at < body.length; at += sliceSize) {
        const slice = body.subarray(at, at + sliceSize);
        await takeTurn(slice.length, signal);
        yield slice;
      }
    },
  };
}
