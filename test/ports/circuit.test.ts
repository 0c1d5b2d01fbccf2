// What every circuit does. What each of the three counts, and when they probe, is in the tests of UpstreamCircuit,
// S3Bucket and RedisConnection.
import t, { type Test } from "tap";
import { Circuit } from "../../src/ports/circuit.ts";
import { eventually, ManualClock, ManualPause, quiet } from "../fixtures/manual-time.ts";

const light = new Error("light");
const heavy = new Error("heavy");
const answer = new Error("answer");

function setUp(t: Test, intervalFrom: "start" | "end" = "start") {
  const time = new ManualPause();
  const clock = new ManualClock();
  const changes: string[] = [];
  const probes: { readonly signal: AbortSignal; readonly end: (works: boolean) => void }[] = [];
  const circuit = new Circuit({
    limit: 4,
    weigh: (error) => (error === answer ? "answer" : error === heavy ? 3 : error === light ? 1 : 0),
    refusal: (retryAfter) => new RangeError(`in ${retryAfter} s`),
    probe: (signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      probes.push({ signal, end: (works) => (works ? resolve() : reject(light)) });
      return promise;
    },
    interval: 5_000,
    intervalFrom,
    changed: (state, previous) => changes.push(`${previous} -> ${state}`),
    pause: time.pause,
    clock: clock.read,
    random: () => 0,
  });
  t.teardown(() => circuit.close());
  return { circuit, time, clock, changes, probes };
}

t.test("errors count by their weight, and an answer ends the row", async (t) => {
  for (const [errors, closed] of [
    [[light, light, light], true],
    [[light, light, light, light], false],
    [[heavy, light], false],
    [[heavy, answer, heavy], true],
    [[heavy, new Error("anything else"), light], false],
    [Array(10).fill(new Error("anything else")), true],
  ] as const) {
    const { circuit } = setUp(t);
    for (const error of errors)
      await t.rejects(
        circuit.run(() => Promise.reject(error)),
        error,
      );
    t.equal(circuit.isClosed, closed, errors.map(({ message }) => message).join(", "));
  }
  const { circuit } = setUp(t);
  circuit.failed(heavy);
  t.equal(await circuit.run(async () => "well"), "well");
  circuit.count(3);
  t.equal(circuit.state, "closed");
  circuit.failed(light);
  t.equal(circuit.state, "open");
});

t.test("while it is open nothing is asked, and it says when it will probe", async (t) => {
  const { circuit, clock } = setUp(t);
  circuit.check();
  circuit.count(4);
  let asked = 0;
  await t.rejects(
    circuit.run(async () => asked++),
    { name: "RangeError", message: "in 5 s" },
  );
  clock.advance(4_500);
  t.throws(() => circuit.check(), { message: "in 1 s" });
  clock.advance(60_000);
  t.throws(() => circuit.check(), { message: "in 1 s" }, "never less");
  clock.advance(-3_600_000);
  t.throws(() => circuit.check(), { message: "in 5 s" }, "never more");
  t.equal(asked, 0);
});

t.test("it is probed at equal intervals, one probe at a time, until one is answered", async (t) => {
  const { circuit, time, changes, probes } = setUp(t);
  circuit.count(4);
  t.equal(probes.length, 0, "the first comes after one interval");
  time.elapse();
  await eventually("a probe", () => probes.length === 1);
  time.elapse();
  await eventually("it is given up", () => probes[0]?.signal.aborted === true);
  await quiet();
  t.equal(probes.length, 1, "one that does not end is waited for");
  probes[0]?.end(false);
  await eventually("another probe", () => probes.length === 2);
  circuit.failed(heavy);
  circuit.failed(heavy);
  probes[1]?.end(true);
  await eventually("it is closed", () => circuit.isClosed);
  t.same(changes, [
    "closed -> open",
    "open -> half_open",
    "half_open -> open",
    "open -> half_open",
    "half_open -> closed",
  ]);
  t.same(new Set(time.asked), new Set([5_000]));
  await quiet();
  t.equal(time.waiting, 0);
  circuit.count(3);
  t.ok(circuit.isClosed, "counting has begun anew");
});

t.test("an interval that begins with the end of a probe is not over before it", async (t) => {
  const { circuit, time, changes, probes } = setUp(t, "end");
  circuit.count(4);
  time.elapse();
  await eventually("a probe", () => probes.length === 1);
  await quiet();
  t.equal(time.waiting, 0);
  t.equal(circuit.state, "half_open");
  probes[0]?.end(false);
  await eventually("the next interval", () => time.waiting === 1);
  t.equal(circuit.state, "open");
  time.elapse();
  await eventually("another probe", () => probes.length === 2);
  probes[1]?.end(true);
  await eventually("it is closed", () => circuit.isClosed);
  t.equal(changes.length, 5);
  await quiet();
  t.equal(time.waiting, 0);
  t.same(time.asked, [5_000, 5_000]);
});

t.test("closing it ends the probes, and the wait for the next", async (t) => {
  const { circuit, time, probes } = setUp(t);
  circuit.count(4);
  circuit.close();
  await quiet();
  t.equal(time.waiting, 0);
  t.equal(probes.length, 0);
});
