import t from "tap";
import { LastOf, percentile } from "../../../src/telemetry/recent/last-of.ts";

t.test("the last few, latest first", (t) => {
  const last = new LastOf<number>(3);
  t.strictSame(last.list(), []);
  t.equal(last.latest, undefined);
  for (const value of [1, 2]) last.add(value);
  t.strictSame(last.list(), [2, 1]);
  for (const value of [3, 4, 5]) last.add(value);
  t.strictSame(last.list(), [5, 4, 3]);
  t.equal(last.latest, 5);
  t.end();
});

t.test("percentiles by nearest rank", (t) => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  t.equal(percentile(values, 0.5), 50);
  t.equal(percentile(values, 0.95), 95);
  t.equal(percentile(values, 1), 100);
  t.equal(percentile([7], 0), 7);
  t.equal(percentile([], 0.5), null);
  t.end();
});
