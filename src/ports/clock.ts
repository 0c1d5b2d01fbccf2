// Injected time: clocks, pauses, and how old a record is by them.
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Milliseconds since the epoch; injected so that no policy test sleeps. As `clock` the machine's own, which may be set
 * back and forth: for records. As `steady` one that only goes forward, second by second: for every interval.
 */
export type Clock = () => number;

/** Milliseconds a record may be ahead of the clock: more than the clocks of a datacenter differ by. */
export const clockTolerance = 5 * 60_000;

/**
 * Milliseconds from `at` to `now`, both since the epoch; 0 for a record that is ahead by 5 minutes at most, and Infinity
 * for one further ahead: it was made by a clock that was wrong, or this one is, and nothing is known of its age.
 */
export function recordAge(at: number, now: number): number {
  if (at <= now) return now - at;
  return at - now <= clockTolerance ? 0 : Number.POSITIVE_INFINITY;
}

/** Waits; rejects when the signal aborts. Injected so that tests need no real time. */
export type Pause = (milliseconds: number, signal: AbortSignal) => Promise<void>;

export const realPause: Pause = (milliseconds, signal) => sleep(milliseconds, undefined, { signal });
