import t from "tap";
import { RateQueue } from "../../../src/http/limits/rate-queue.ts";
import { ManualClock, quiet } from "../../fixtures/manual-time.ts";

/** A queue whose timers are run by moving its clock. */
function rateQueue(perSecond: number, burst: number) {
  const clock = new ManualClock();
  const timers = new Map<() => void, number>();
  const queue = new RateQueue({ perSecond, burst }, clock.read, (milliseconds, call) => {
    timers.set(call, clock.now + milliseconds);
    return () => timers.delete(call);
  });
  const advance = async (milliseconds: number): Promise<void> => {
    const end = clock.now + milliseconds;
    for (;;) {
      const [next] = [...timers].sort(([, a], [, b]) => a - b);
      if (next === undefined || next[1] > end) break;
      timers.delete(next[0]);
      clock.now = next[1];
      next[0]();
    }
    clock.now = end;
    await quiet(1);
  };
  const order: string[] = [];
  const enter = (caller: string, amount = 1) => {
    const waiting = queue.enter(caller, amount);
    void waiting?.turn.then(() => order.push(caller));
    return waiting;
  };
  return { queue, timers, advance, enter, order };
}

t.test("as many as a second brings may come at once, and then one after the other", async (t) => {
  const { advance, enter, order, timers } = rateQueue(5, 5);
  t.same(
    Array.from({ length: 7 }, () => enter("a") === undefined),
    [true, true, true, true, true, false, false],
  );
  await advance(199);
  t.same(order, []);
  await advance(1);
  t.same(order, ["a"]);
  await advance(200);
  t.same(order, ["a", "a"]);
  t.equal(timers.size, 0, "nothing ticks when nobody waits");
  await advance(60_000);
  t.equal(Array.from({ length: 9 }, () => enter("a")).filter((each) => each === undefined).length, 5);
});

t.test("callers have turns, however many of one wait", async (t) => {
  const { advance, enter, order, queue } = rateQueue(1, 1);
  enter("a");
  for (const caller of ["a", "a", "a", "b", "c", "b"]) enter(caller);
  t.equal(queue.waitOf("a"), 12, "four of its own, each behind two others");
  t.equal(queue.waitOf("d"), 4);
  await advance(6_000);
  t.same(order, ["a", "b", "c", "a", "b", "a"]);
});

t.test("who leaves is passed over", async (t) => {
  const { advance, enter, order, timers } = rateQueue(1, 1);
  enter("a");
  const first = enter("a");
  enter("b");
  first?.leave();
  first?.leave();
  await advance(1_000);
  t.same(order, ["a", "b"], "its wait ended when it left, and it took nothing");
  t.equal(timers.size, 0);
});

t.test("more than may be used at once waits until all of that is there", async (t) => {
  const { advance, enter, order, queue } = rateQueue(100, 50);
  t.equal(enter("a", 200), undefined, "and takes what comes later");
  enter("a", 200);
  await advance(1_999);
  t.same(order, []);
  await advance(1);
  t.same(order, ["a"]);
  queue.use(1_000_000);
  t.equal(queue.enter("b", 1) === undefined, false);
  await advance(2_010);
  t.equal(
    queue.enter("c", 1),
    undefined,
    "what was used without waiting is owed for the time of a burst at most",
  );
});
