import fc from "fast-check";
import t from "tap";
import { TimeRing } from "../../../src/telemetry/recent/time-ring.ts";

const start = Date.UTC(2026, 0, 1);

t.test("sums and columns follow the clock", (t) => {
  const ring = new TimeRing(1000, 4, 2);
  ring.add(start, 0, 1);
  ring.add(start + 999, 0, 2);
  ring.add(start + 1000, 1, 5);
  t.strictSame(ring.column(start + 1000, 0), [0, 0, 3, 0]);
  t.equal(ring.sum(start + 1000, 4, 0), 3);
  t.equal(ring.sum(start + 1000, 1, 0), 0);
  t.equal(ring.start(start + 1000), start - 2000);
  t.strictSame(ring.column(start + 4000, 1), [5, 0, 0, 0], "the first row has made room");
  t.strictSame(ring.column(start + 4000, 0), [0, 0, 0, 0]);
  t.end();
});

t.test("a pause longer than the ring leaves nothing behind", (t) => {
  const ring = new TimeRing(1000, 4, 1);
  for (let at = 0; at < 4000; at += 1000) ring.add(start + at, 0, 7);
  ring.add(start + 1_000_000, 0, 1);
  t.strictSame(ring.column(start + 1_000_000, 0), [0, 0, 0, 1]);
  t.end();
});

t.test("a clock set back a little adds to the newest row, one set back far begins anew", (t) => {
  const ring = new TimeRing(1000, 4, 1);
  ring.add(start, 0, 1);
  ring.add(start - 2000, 0, 1);
  t.strictSame(ring.column(start, 0), [0, 0, 0, 2]);
  ring.add(start - 3_600_000, 0, 5);
  t.strictSame(ring.column(start - 3_600_000, 0), [0, 0, 0, 5]);
  t.end();
});

t.test("what took long is spread over the time it took", (t) => {
  const ring = new TimeRing(1000, 4, 1);
  ring.spread(start, start + 3000, 0, 400);
  t.strictSame(ring.column(start + 3000, 0), [100, 100, 100, 100]);
  const short = new TimeRing(1000, 2, 1);
  short.spread(start, start + 3000, 0, 400);
  t.strictSame(
    short.column(start + 3000, 0),
    [100, 100],
    "what was before the ring began is not squeezed in",
  );
  const instant = new TimeRing(1000, 2, 1);
  instant.spread(start + 9000, start, 0, 3);
  t.strictSame(instant.column(start, 0), [0, 3], "a start after the end is no reason to lose it");
  t.end();
});

t.test(
  "spread, whatever the clock has done: in the rows there are, and never more than there was",
  async (t) => {
    const moment = fc.integer({ min: -20_000, max: 20_000 });
    fc.assert(
      fc.property(moment, moment, moment, (seen, from, now) => {
        const ring = new TimeRing(1000, 4, 1);
        ring.add(start + seen, 0, 0);
        ring.spread(start + from, start + now, 0, 400);
        const column = ring.column(start + now, 0);
        const sum = column.reduce((all, value) => all + value, 0);
        const kept = from > now || now - from <= 3_000;
        // A clock set back adds to the rows up to the newest one.
        return (
          column.length === 4 &&
          sum <= 402 &&
          (seen > now || !kept || sum > 0) &&
          column.every((value) => value >= 0)
        );
      }),
    );
    const late = new TimeRing(1000, 4, 1);
    late.add(start + 2000, 0, 0);
    late.spread(start, start + 1000, 0, 300);
    t.strictSame(
      late.column(start + 2000, 0),
      [0, 100, 100, 100],
      "set back by a second: none of it is lost",
    );
  },
);

t.test("saved rows come back where they were, old ones and those of the future do not", (t) => {
  const ring = new TimeRing(1000, 4, 2);
  ring.add(start, 0, 1);
  ring.add(start + 2000, 1, 9);
  const saved = JSON.parse(JSON.stringify(ring.save()));
  t.equal(saved.length, 2, "empty rows are not kept");
  const later = new TimeRing(1000, 4, 2);
  later.add(start + 2500, 1, 1);
  later.restore(start + 2500, saved);
  t.strictSame(later.column(start + 2500, 0), [0, 1, 0, 0]);
  t.strictSame(later.column(start + 2500, 1), [0, 0, 0, 10], "added to what has been counted since");
  const muchLater = new TimeRing(1000, 4, 2);
  muchLater.restore(start + 60_000, saved);
  t.strictSame(muchLater.column(start + 60_000, 0), [0, 0, 0, 0]);
  const before = new TimeRing(1000, 4, 2);
  before.restore(start - 60_000, saved);
  t.strictSame(before.column(start - 60_000, 1), [0, 0, 0, 0]);
  t.end();
});
