import t from "tap";
import { createInfluxClock } from "../../../src/telemetry/lines/influx-points.ts";

t.test("80,000 points of one moment have 80,000 timestamps, in order", async (t) => {
  const next = createInfluxClock(() => 1_767_323_045_678);
  const times = Array.from({ length: 80_000 }, () => BigInt(next()));
  t.equal(times[0], 1_767_323_045_678_000_000n);
  t.equal(times.at(-1), 1_767_323_045_678_079_999n);
  t.ok(times.every((time, at) => at === 0 || time > (times[at - 1] as bigint)));
});

t.test("the clock may go back, stand still or have fractions: the timestamps go on", async (t) => {
  let now = 1_000_000_000_000.7;
  const next = createInfluxClock(() => now);
  const times = [next()];
  for (const at of [999, 1_000_000_000_000, 1_000_000_000_001.2, 5, 1_000_000_000_002]) {
    now = at;
    times.push(next());
  }
  t.strictSame(times, [
    "1000000000000000000",
    "1000000000000000001",
    "1000000000000000002",
    "1000000000001000000",
    "1000000000001000001",
    "1000000000002000000",
  ]);
});

t.test("a millisecond that is full runs over into the next", async (t) => {
  let now = 1_000_000_000_000;
  const next = createInfluxClock(() => now);
  for (let i = 0; i < 999_999; i++) next();
  t.equal(next(), "1000000000000999999");
  t.equal(next(), "1000000000001000000");
  now += 1;
  t.equal(next(), "1000000000001000001", "which has begun by then");
});
