// What one request for ranges asks of upstream, and what it may have before the digest is known.
import t from "tap";
import { holdBack, maxRangeRequests, RangePlan, type Stretch } from "../../../src/cache/fill/range-plan.ts";

const size = 64 * 1024 * 1024;
const kibibyte = 1024;

function stretches(plan: RangePlan, first: Stretch): Stretch[] {
  return [first, ...plan.after(first)];
}

t.test("ranges near each other are one stretch, in whatever order they are asked for", async (t) => {
  const ranges = [
    { start: 900 * kibibyte, end: 901 * kibibyte },
    { start: 0, end: 99 },
    { start: 64 * kibibyte, end: 80 * kibibyte },
    { start: 70 * kibibyte, end: 75 * kibibyte },
  ];
  const plan = new RangePlan(ranges, size);
  const first = plan.at(70 * kibibyte);
  t.same(stretches(plan, first), [
    { start: 0, end: 80 * kibibyte + 1 },
    { start: 900 * kibibyte, end: 901 * kibibyte + 1 },
  ]);
});

t.test("there are never more stretches than requests: the smallest gaps are closed", async (t) => {
  const ranges = Array.from({ length: 1_024 }, (_, i) => {
    const start = i * 60_000 + (i % 100 === 0 ? 0 : 50);
    return { start, end: start + (i % 100 === 99 ? 9 : 999) };
  });
  const plan = new RangePlan(ranges, size);
  t.ok(stretches(plan, plan.at(0)).length <= maxRangeRequests);
  for (const { start, end } of ranges) {
    const stretch = plan.at(start);
    t.ok(stretch.start <= start && stretch.end > end);
  }
});

t.test("the last 64 KiB are held back from a range that reaches the end, unless it is shorter", async (t) => {
  const free = (...starts: number[]) =>
    new RangePlan(
      starts.map((start) => ({ start, end: size - 1 })),
      size,
    ).free;
  t.equal(free(0), size - holdBack);
  t.equal(free(size - holdBack - 1), size - holdBack);
  t.equal(free(size - holdBack), size);
  t.equal(free(size - 1), size);
  t.equal(free(size - 1, 0), size - holdBack, "several ranges: one decides for all");
  t.equal(
    new RangePlan([{ start: 0, end: size - 2 }], size).free,
    size,
    "one that ends before the blob does",
  );
});
