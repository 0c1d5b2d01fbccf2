// Which part of a blob is fetched next, and from which memory: above all that the part everybody waits for never does
// without because the parts behind it have taken what there is.
import fc from "fast-check";
import t from "tap";
import { type Segment, SegmentBudget, SegmentLine } from "../../../src/cache/segments/segment-queue.ts";

const mebibyte = 1024 * 1024;
const size = 16 * mebibyte;

/** A line whose lead is an open transfer that others have begun behind. */
function promised(memory: number) {
  const budget = new SegmentBudget(memory);
  const line = new SegmentLine(0, size, budget);
  const lead = line.take(4, true) as Segment;
  lead.open = true;
  const helpers: Segment[] = [];
  for (let one = line.take(4, false); one !== undefined; one = line.take(4, false)) helpers.push(one);
  return { budget, line, lead, helpers };
}

t.test("the lead begins without any memory, a helper does not", async (t) => {
  const line = new SegmentLine(0, size, new SegmentBudget(0));
  t.equal(line.take(4, false), undefined);
  const lead = line.take(4, true);
  t.match(lead, { start: 0, reserved: 0, taken: true });
  t.equal(line.take(4, true), undefined, "what comes after it waits for memory");
});

t.test("the front is fetched when no memory is left: only those behind it hold any", async (t) => {
  for (const withdrawn of [false, true]) {
    const { line, lead, helpers } = promised(4 * mebibyte);
    t.ok(
      helpers.length > 0 && helpers.every(({ reserved }) => reserved > 0),
      "all memory is behind the front",
    );
    // The lead's own bytes have come and gone on; its transfer ends before what it was promised.
    line.remove(lead);
    while (line.take(4, false) !== undefined);
    if (withdrawn) line.withdraw();
    t.equal(line.front?.taken, false);
    t.equal(line.front?.reserved, 0);
    t.equal(line.take(4, true), line.front, withdrawn ? "left unfinished" : "promised");
    t.match(line.front, { taken: true, promised: false, reserved: 0 });
  }
});

t.test("what is behind the front waits for memory, and takes it once", async (t) => {
  const { budget, line, lead, helpers } = promised(4 * mebibyte);
  line.withdraw();
  t.equal(line.take(4, false), undefined, "promised before, without memory");
  const last = helpers.at(-1) as Segment;
  line.remove(last);
  const next = line.take(4, false) as Segment;
  t.equal(next.reserved, next.end - next.start);
  line.remove(next);
  line.clear();
  t.equal(line.front, undefined);
  t.equal(lead.reserved + helpers.reduce((sum, { reserved }) => sum + reserved, 0) <= 4 * mebibyte, true);
  t.ok(budget.reserve(4 * mebibyte), "all of it is given back");
  t.notOk(budget.reserve(1));
});

t.test("whatever is taken, given up and removed: no gap, no byte twice, and no memory lost", async () => {
  const step = fc.record({ act: fc.nat(5), which: fc.nat(20), width: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(6), (steps, memory) => {
      const budget = new SegmentBudget(memory * mebibyte);
      const line = new SegmentLine(7, size, budget);
      let end = 7;
      const known: Segment[] = [];
      for (const { act, which, width } of steps) {
        const one = known[which % Math.max(1, known.length)];
        if (act <= 1 || one === undefined) {
          const taken = line.take(width, act === 0);
          if (taken !== undefined && !known.includes(taken)) known.push(taken);
        } else if (act === 2) one.taken = false;
        else if (act === 3) one.open = one === known.at(-1);
        else if (act === 4) line.withdraw();
        else if (line.front === one) {
          if (one.start !== end) return false;
          end = one.end;
          known.splice(known.indexOf(one), 1);
          line.remove(one);
        }
        const { front } = line;
        // With its transfer gone the front is always to be had.
        if (front !== undefined && !front.taken) {
          line.withdraw();
          if (line.take(width, true) !== front) return false;
        }
      }
      line.clear();
      return budget.reserve(memory * mebibyte) && !budget.reserve(1);
    }),
    { numRuns: 500 },
  );
});
