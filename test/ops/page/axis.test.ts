import t from "tap";
import { timeLabels, valueRange } from "../../../src/ops/page/axis.ts";
import { rate } from "../../../src/ops/page/format.ts";

t.test("an empty chart of bytes has marks that differ", (t) => {
  const [from, to] = valueRange(0, 0, 1000);
  const marks = [0, 1, 2, 3, 4].map((step) => rate(from + ((to - from) * step) / 4));
  t.equal(new Set(marks).size, marks.length, marks.join());
  t.strictSame(valueRange(-50, 20_000, 1000), [-50 * 1.1, 20_000 * 1.1]);
  t.end();
});

t.test("times are UTC, with seconds where marks are close", (t) => {
  const before = process.env.TZ;
  t.teardown(() => {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  });
  process.env.TZ = "Asia/Kolkata";
  t.equal(new Date(Date.UTC(2026, 0, 1, 12)).getHours(), 17, "the place is another");
  const noon = Date.UTC(2026, 0, 1, 12) / 1000;
  t.strictSame(timeLabels([noon, noon + 600]), ["12:00", "12:10"]);
  t.strictSame(timeLabels([noon, noon + 15]), ["12:00:00", "12:00:15"]);
  t.strictSame(timeLabels([]), []);
  t.end();
});
