// The primary's side of its workers: who is started, told, waited for, ended and replaced.
import t, { type Test } from "tap";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseRepository, type Repository } from "../../src/oci/name.ts";
import { Workers } from "../../src/workers/workers.ts";
import { digestOf } from "../fixtures/images.ts";
import { eventually, ManualClock, ManualPause, quiet } from "../fixtures/manual-time.ts";
import { ScriptedForks, type ScriptedWorker, workerSettings } from "../fixtures/scripted-worker.ts";

const digest = parseDigest(digestOf(Buffer.from("a blob"))) as Digest;
const scope = { upstream: "far", repository: parseRepository("team/app") as Repository };
const bound = { host: "127.0.0.1", port: 5000 };
const listening = { kind: "listening", bound } as const;

function setUp(t: Test, { count = 2 } = {}) {
  const forks = new ScriptedForks();
  const clock = new ManualClock();
  const time = new ManualPause();
  time.instant = () => false;
  const lines: { readonly context: Record<string, unknown>; readonly message: string }[] = [];
  const log = (context: object, message: string) => lines.push({ context: { ...context }, message });
  const unreadable: Digest[] = [];
  const state = { readiness: 503 as 200 | 404 | 503 };
  const workers = new Workers({
    count,
    fork: forks.fork,
    settings: workerSettings,
    events: { onEvent: () => {}, lost: () => {} },
    readiness: () => state.readiness,
    unreadable: (each) => unreadable.push(each),
    log: { debug: () => {}, error: log },
    clock: clock.read,
    pause: time.pause,
  });
  t.teardown(async () => {
    for (const worker of forks.all) worker.obeys = true;
    await workers.stop();
  });
  const started = workers.start();
  started.catch(() => {});
  /** Lets milliseconds pass, second by second. */
  const elapse = async (milliseconds: number): Promise<void> => {
    for (let left = milliseconds; left > 0; left -= 1_000) {
      clock.advance(Math.min(left, 1_000));
      time.elapse();
      await quiet(3);
    }
  };
  const at = (index: number) => forks.all[index] as ScriptedWorker;
  return { workers, forks, at, started, clock, time, elapse, lines, unreadable, state };
}

t.test("the start is over when one listens; each is told what it needs", async (t) => {
  const { started, forks, at } = setUp(t, { count: 3 });
  t.equal(forks.all.length, 3);
  for (const { told } of forks.all)
    t.same(told, [
      { kind: "start", settings: workerSettings },
      { kind: "readiness", status: 503 },
    ]);
  at(1).says(listening);
  t.same(await started, { host: "127.0.0.1", port: 5000 });
});

t.test("a worker that cannot listen ends the start with the system's error", async (t) => {
  const { started, at } = setUp(t);
  at(0).says({ kind: "failed", message: "in use", error: { code: "EADDRINUSE", port: 5000 } });
  await t.rejects(started, { message: "in use", code: "EADDRINUSE", port: 5000 });
});

t.test(
  "workers that end before one listens are tried again with growing pauses, and end the start",
  async (t) => {
    const { started, forks, time, elapse } = setUp(t);
    const over = started.then(
      () => "started",
      (error: Error) => error.message,
    );
    for (let round = 0; round < 3; round++) {
      for (const worker of forks.all.slice(round * 2)) worker.end({ code: 1, signal: null });
      await quiet();
      await elapse(1_000);
    }
    t.equal(await over, "workers end before they listen");
    t.same(
      time.asked.filter((milliseconds) => milliseconds !== 1_000),
      [100, 200, 400, 800, 1_600, 3_200],
    );
  },
);

t.test("one that dies is replaced: at once if it has lived, and with the settings of now", async (t) => {
  const { workers, forks, at, elapse, lines, time } = setUp(t);
  workers.use({ ...workerSettings, via: true });
  await elapse(5_000);
  at(0).end({ code: null, signal: "SIGSEGV" });
  await eventually("another one is started", () => forks.all.length === 3);
  t.notOk(time.asked.includes(100), "without a pause");
  t.match(at(2).told[0], { kind: "start", settings: { via: true } });
  t.match(lines, [
    { context: { pid: 1, signal: "SIGSEGV" }, message: /has ended; another one takes its place/ },
  ]);
});

t.test("one that cannot be started is tried again", async (t) => {
  const { forks, at, elapse, lines } = setUp(t);
  await elapse(5_000);
  forks.refuses = new Error("no processes left");
  at(0).end({ err: new Error("gone") });
  await quiet();
  t.match(lines.at(-1), { message: /cannot be started; it is tried again/ });
  t.equal(forks.all.length, 2);
  forks.refuses = undefined;
  await elapse(1_000);
  t.equal(forks.all.length, 3);
});

t.test("news of one turn is one message to each, and is over when all have acknowledged it", async (t) => {
  const { workers, at } = setUp(t);
  at(1).acknowledges = false;
  const told = [workers.forget(scope), workers.forget({ upstream: "other" }), workers.forget(scope)];
  let over = 0;
  for (const each of told) void each.then(() => over++);
  await quiet();
  const [message] = at(1).toldOf("forget");
  t.match(message, { forgets: [scope, { upstream: "other" }] });
  t.equal(at(1).toldOf("forget").length, 1);
  t.equal(over, 0);
  at(1).says({ kind: "done", number: (message?.number ?? 0) + 7 });
  await quiet();
  t.equal(over, 0, "another message's");
  at(1).says({ kind: "done", number: message?.number ?? 0 });
  await Promise.all(told);
});

t.test("a worker that does not acknowledge is ended, and the news is over when it has", async (t) => {
  const { workers, at, time, lines } = setUp(t);
  at(0).acknowledges = false;
  at(0).obeys = false;
  let over = false;
  const told = workers.forget(scope).then(() => {
    over = true;
  });
  await quiet();
  t.ok(time.asked.includes(5_000));
  t.notOk(at(0).killed);
  time.elapse();
  await quiet();
  t.ok(at(0).killed);
  t.match(lines.at(-1), { context: { pid: 1 }, message: "a worker is ended: it does not acknowledge news" });
  t.notOk(over, "it still runs");
  at(0).end({ code: null, signal: "SIGKILL" });
  await told;
});

t.test("a worker that dies without having acknowledged is not waited for", async (t) => {
  const { workers, at } = setUp(t);
  at(0).acknowledges = false;
  const told = workers.forget(scope);
  await quiet();
  at(0).end({ code: null, signal: "SIGKILL" });
  await told;
});

t.test("of more than a thousand repositories at once everything is forgotten", async (t) => {
  const { workers, at } = setUp(t);
  for (let each = 0; each < 1_001; each++) void workers.forget({ upstream: `far ${each}` });
  await workers.forget(scope);
  t.same(at(0).toldOf("forget")[0]?.forgets, [{}, scope]);
});

t.test("readiness is told every second, and at once when asked for", async (t) => {
  const { workers, at, elapse, state } = setUp(t);
  state.readiness = 200;
  await elapse(2_000);
  state.readiness = 404;
  workers.tellReadiness();
  t.same(
    at(1)
      .toldOf("readiness")
      .map(({ status }) => status),
    [503, 200, 200, 404],
  );
});

t.test("one without a sign of life is ended; one that starts is given a minute", async (t) => {
  const { at, elapse, lines } = setUp(t);
  at(0).says(listening);
  await elapse(13_000);
  t.notOk(at(0).killed);
  await elapse(1_000);
  t.ok(at(0).killed);
  t.match(lines[0], { context: { pid: 1 }, message: "a worker is ended: it gives no sign of life" });
  await elapse(46_000);
  t.notOk(at(1).killed);
  await elapse(1_000);
  t.ok(at(1).killed);
});

t.test("every message is a sign of life", async (t) => {
  const { at, elapse } = setUp(t);
  for (let round = 0; round < 10; round++) {
    at(0).says({ kind: "alive", inFlight: 0 });
    await elapse(12_000);
  }
  t.notOk(at(0).killed);
});

t.test("a machine that was suspended has ended nobody", async (t) => {
  const { at, elapse, clock } = setUp(t);
  for (const each of [0, 1]) at(each).says({ kind: "alive", inFlight: 0 });
  clock.advance(3_600_000);
  await elapse(13_000);
  t.notOk(at(0).killed);
  await elapse(2_000);
  t.ok(at(0).killed, "but the silence since then counts");
});

t.test("where the event loop of one stood still is logged", async (t) => {
  const { at, lines } = setUp(t);
  at(0).end({ code: null, signal: "SIGKILL" }, "    at innermost (file:///a.js:1:2)\n");
  await quiet();
  t.match(lines[0], {
    context: { pid: 1, stack: "    at innermost (file:///a.js:1:2)" },
    message: "a worker is ended: its event loop stands still",
  });
  t.match(lines[1], { context: { signal: "SIGKILL" } });
});

t.test(
  "answers under way are those of all; what is read is known until it is not, or the worker has died",
  async (t) => {
    const { workers, at, unreadable } = setUp(t);
    at(0).says({ kind: "alive", inFlight: 3 });
    at(1).says({ kind: "alive", inFlight: 4 });
    t.equal(workers.inFlight, 7);
    at(0).says({ kind: "reading", digest, change: 1 });
    at(0).says({ kind: "reading", digest, change: 1 });
    at(1).says({ kind: "reading", digest, change: 1 });
    at(0).says({ kind: "reading", digest, change: -1 });
    at(1).says({ kind: "reading", digest, change: -1 });
    t.ok(workers.isReading(digest));
    at(0).end({ code: null, signal: "SIGKILL" });
    await quiet();
    t.notOk(workers.isReading(digest));
    t.equal(workers.inFlight, 4);
    at(1).says({ kind: "unreadable", digest });
    t.same(unreadable, [digest]);
    workers.wrong(digest);
    t.same(at(1).toldOf("wrong"), [{ kind: "wrong", digest }]);
  },
);

t.test("what is blocked is told to all workers, and done once they have acknowledged that", async (t) => {
  const { workers, at } = setUp(t, { count: 2 });
  const digest = "sha256:0" as Digest;
  const blocked = { kind: "blocked", digest, reason: "bad", because: "itself" } as const;
  for (const worker of [at(0), at(1)]) worker.acknowledges = false;
  at(1).says({ kind: "reading", digest, change: 1 });
  t.same([...workers.beingSent], [digest]);
  let done = false;
  const blocking = workers.block([[digest, blocked]]).then(() => {
    done = true;
  });
  await quiet();
  for (const worker of [at(0), at(1)]) {
    t.same(worker.toldOf("blocked"), [{ kind: "blocked", digests: [[digest, blocked]] }]);
    t.match(worker.toldOf("forget"), [{ forgets: [{}] }]);
  }
  const numberOf = (worker: number) => (at(worker).toldOf("forget")[0] as { number: number }).number;
  at(0).says({ kind: "done", number: numberOf(0) });
  await quiet();
  t.notOk(done);
  at(1).says({ kind: "done", number: numberOf(1) });
  await blocking;
});

t.test("a failure nobody foresaw in a worker is in the log of the node", async (t) => {
  const { at, lines } = setUp(t);
  at(0).says({ kind: "unexpected", message: "a bug", stack: "at somewhere" });
  t.match(lines, [
    { context: { err: { message: "a bug", stack: "at somewhere" } }, message: /nobody foresaw/ },
  ]);
});

t.test("drained are those that say so and those that die; none is replaced", async (t) => {
  const { workers, forks, at, elapse, lines } = setUp(t, { count: 3 });
  await elapse(5_000);
  let drained = false;
  const draining = workers.drain().then(() => {
    drained = true;
  });
  for (const worker of forks.all) t.equal(worker.toldOf("drain").length, 1);
  at(0).says({ kind: "drained" });
  at(1).end({ code: null, signal: "SIGKILL" });
  await quiet();
  t.notOk(drained);
  at(2).says({ kind: "drained" });
  await draining;
  await elapse(10_000);
  t.equal(forks.all.length, 3);
  t.match(lines, [{ context: { pid: 2 } }], "nothing is said of those that were told to go");
});

t.test("stop ends them all, waits for that, and starts no other", async (t) => {
  const { workers, forks, at, started, lines } = setUp(t);
  at(1).obeys = false;
  let stopped = false;
  const stopping = workers.stop().then(() => {
    stopped = true;
  });
  await t.rejects(started, { message: "this node is stopping" });
  await quiet();
  t.notOk(stopped);
  at(1).end({ code: null, signal: "SIGKILL" });
  await stopping;
  await workers.stop();
  t.ok(forks.all.every(({ killed }) => killed));
  t.equal(forks.all.length, 2);
  t.same(lines, []);
});

t.test(
  "what is lent for a client of all workers is never more than its limit, also when one has ended",
  async (t) => {
    const { started, at } = setUp(t);
    at(0).says(listening);
    await started;
    for (const _ of [1, 2, 3, 4, 5]) at(0).says({ kind: "short", network: "192.0.2.1" });
    const lent = { kind: "lent", network: "192.0.2.1", places: 500 };
    t.same(at(0).toldOf("lent"), [lent, lent, lent, lent], "half of 4,000; each of four has 500 of its own");
    at(1).says({ kind: "short", network: "192.0.2.1" });
    t.same(at(1).toldOf("lent"), []);
    at(0).says({ kind: "returned", network: "192.0.2.1", places: 2000 });
    t.same(at(0).toldOf("lent").length, 5, "it had asked once more");
    t.same(at(1).toldOf("lent"), [lent]);
    at(0).end({ code: 1, signal: null });
    for (const _ of [1, 2, 3, 4]) at(1).says({ kind: "short", network: "192.0.2.1" });
    await eventually("everything is lent to the other", () => at(1).toldOf("lent").length === 4);
  },
);
