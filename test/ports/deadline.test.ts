import t from "tap";
import { inTime, orAborted, withDeadline } from "../../src/ports/deadline.ts";
import { gate, ManualPause, quiet } from "../fixtures/manual-time.ts";

const wrong = new Error("by the test");

t.test("work is waited for so long and no longer, and goes on", async (t) => {
  const time = new ManualPause();
  const work = gate();
  let done = false;
  const working = work.opened.then(() => {
    done = true;
  });
  const late = inTime(working, 5_000, time.pause);
  time.elapse();
  t.equal(await late, false);
  work.open();
  await working;
  t.ok(done);
  t.equal(await inTime(working, 5_000, time.pause), true);
  await t.rejects(inTime(Promise.reject(wrong), 5_000, time.pause), wrong);
  t.same(time.asked, [5_000, 5_000, 5_000]);
  t.equal(time.waiting, 0, "no pause outlives its wait");
});

t.test("work that fails when nobody waits any more is nobody's failure", async (t) => {
  const time = new ManualPause();
  const { promise, reject } = Promise.withResolvers<void>();
  const late = inTime(promise, 5_000, time.pause);
  time.elapse();
  t.equal(await late, false);
  reject(wrong);
  await quiet();
});

t.test("a signal ends the waiting, with its reason, and not the work", async (t) => {
  const left = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string>();
  const [one, other] = [orAborted(promise, left.signal), orAborted(promise, undefined)];
  left.abort(wrong);
  await t.rejects(one, wrong);
  await t.rejects(orAborted(promise, left.signal), wrong, "aborted before");
  resolve("done");
  t.equal(await other, "done");
  t.equal(await orAborted(promise, new AbortController().signal), "done");
  await t.rejects(orAborted(Promise.reject(wrong), new AbortController().signal), wrong);
});

t.test("an answer within its deadline", async (t) => {
  const time = new ManualPause();
  const deadline = { milliseconds: 5_000, pause: time.pause };
  t.equal(await withDeadline(deadline, async (signal) => signal.aborted), false);
  await t.rejects(
    withDeadline(deadline, () => Promise.reject(wrong)),
    wrong,
  );
  t.equal(time.waiting, 0);
});

t.test("what does not heed its signal is given up all the same, and its answer is handed over", async (t) => {
  for (const [name, end] of [
    ["TimeoutError", "time"],
    ["Error", "signal"],
  ] as const) {
    const time = new ManualPause();
    const left = new AbortController();
    const { promise, resolve } = Promise.withResolvers<string>();
    const late: string[] = [];
    let given: AbortSignal | undefined;
    const answer = withDeadline<string>(
      {
        milliseconds: 5_000,
        pause: time.pause,
        signal: left.signal,
        late: (value) => late.push(value),
      },
      (signal) => {
        given = signal;
        return promise;
      },
    );
    if (end === "time") time.elapse();
    else left.abort(wrong);
    await t.rejects(answer, { name });
    t.equal(given?.aborted, true);
    t.same(late, []);
    resolve("too late");
    await quiet();
    t.same(late, ["too late"]);
    t.equal(time.waiting, 0);
  }
});

t.test("nothing is asked under a signal that has aborted", async (t) => {
  const time = new ManualPause();
  const deadline = { milliseconds: 5_000, pause: time.pause, signal: AbortSignal.abort(wrong) };
  await t.rejects(
    withDeadline(deadline, async () => t.fail("asked")),
    wrong,
  );
  t.equal(time.waiting, 0);
});
