// Timestamps of points. InfluxDB takes two points of one series with one timestamp for the same point and keeps the
// later: of 80,000 lines with milliseconds for timestamps, 284 were left.

/** Points one millisecond has room for, at a nanosecond each. */
const room = 1_000_000;

/**
 * Returns a function that gives nanoseconds since the epoch, as text: no two alike and never going back, also when
 * the clock does. `now` in milliseconds since the epoch.
 */
export function createInfluxClock(now: () => number): () => string {
  let millisecond = 0;
  let next = 0;
  return () => {
    const current = Math.trunc(now());
    if (current > millisecond) {
      millisecond = current;
      next = 0;
    } else if (next === room) {
      millisecond++;
      next = 0;
    }
    return `${millisecond}${String(next++).padStart(6, "0")}`;
  };
}
