// Which part of a blob is fetched next, and from which memory: above all that the part all others wait for
// is always fetched, even when those behind it have taken all of the memory.
import fc from "fast-check";
import t from "tap";
import { type Segment, SegmentBudget, SegmentQueue } from "../../../src/cache/segments/segment-queue.ts";
import { nothingAhead } from "../../fixtures/nothing-ahead.ts";

const mebibyte = 1024 * 1024;
const size = 16 * mebibyte;

/** A queue whose main worker has an open transfer, and helpers that have begun behind what is reserved for it. */
function withReservations(memory: number) {
  const budget = new SegmentBudget(memory);
  const queue = new SegmentQueue(0, size, budget, nothingAhead);
  const main = queue.take(4, "main") as Segment;
  main.open = true;
  const helpers: Segment[] = [];
  for (let one = queue.take(4, "helper"); one !== undefined; one = queue.take(4, "helper")) helpers.push(one);
  return { budget, queue, main, helpers };
}

t.test("the main worker begins without any memory, a helper does not", async (t) => {
  const queue = new SegmentQueue(0, size, new SegmentBudget(0), nothingAhead);
  t.equal(queue.take(4, "helper"), undefined);
  const main = queue.take(4, "main");
  t.match(main, { start: 0, memory: 0, taken: true });
  t.equal(queue.take(4, "main"), undefined, "what comes after it waits for memory");
});

t.test("the front is fetched when no memory is left: only those behind it hold any", async (t) => {
  for (const cancelled of [false, true]) {
    const { queue, main, helpers } = withReservations(4 * mebibyte);
    t.ok(helpers.length > 0 && helpers.every(({ memory }) => memory > 0), "all memory is behind the front");
    // The main worker's segment has been handed on; its transfer ends before what was reserved for it.
    queue.remove(main);
    while (queue.take(4, "helper") !== undefined);
    if (cancelled) queue.cancelReservations();
    t.equal(queue.front?.taken, false);
    t.equal(queue.front?.memory, 0);
    t.equal(queue.take(4, "main"), queue.front, cancelled ? "left unfinished" : "reserved");
    t.match(queue.front, { taken: true, reserved: false, memory: 0 });
  }
});

t.test("what is behind the front waits for memory, and takes it once", async (t) => {
  const { budget, queue, main, helpers } = withReservations(4 * mebibyte);
  queue.cancelReservations();
  t.equal(queue.take(4, "helper"), undefined, "reserved before, without memory");
  const last = helpers.at(-1) as Segment;
  queue.remove(last);
  const next = queue.take(4, "helper") as Segment;
  t.equal(next.memory, next.end - next.start);
  queue.remove(next);
  queue.clear();
  t.equal(queue.front, undefined);
  t.equal(main.memory + helpers.reduce((sum, one) => sum + one.memory, 0) <= 4 * mebibyte, true);
  t.ok(budget.acquire(4 * mebibyte), "all of it is given back");
  t.notOk(budget.acquire(1));
});

t.test("whatever is taken, given up and removed: no gap, no byte twice, and no memory lost", async () => {
  const step = fc.record({ act: fc.nat(5), which: fc.nat(20), concurrency: fc.integer({ min: 1, max: 8 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat(6), (steps, memory) => {
      const budget = new SegmentBudget(memory * mebibyte);
      const queue = new SegmentQueue(7, size, budget, nothingAhead);
      let end = 7;
      const known: Segment[] = [];
      for (const { act, which, concurrency } of steps) {
        const one = known[which % Math.max(1, known.length)];
        if (act <= 1 || one === undefined) {
          const taken = queue.take(concurrency, act === 0 ? "main" : "helper");
          if (taken !== undefined && !known.includes(taken)) known.push(taken);
        } else if (act === 2) one.taken = false;
        else if (act === 3) one.open = one === known.at(-1);
        else if (act === 4) queue.cancelReservations();
        else if (queue.front === one) {
          if (one.start !== end) return false;
          end = one.end;
          known.splice(known.indexOf(one), 1);
          queue.remove(one);
        }
        const { front } = queue;
        // With its transfer gone the front is always to be had.
        if (front !== undefined && !front.taken) {
          queue.cancelReservations();
          if (queue.take(concurrency, "main") !== front) return false;
        }
      }
      queue.clear();
      return budget.acquire(memory * mebibyte) && !budget.acquire(1);
    }),
    { numRuns: 500 },
  );
});
