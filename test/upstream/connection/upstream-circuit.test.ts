// The circuit by itself, in time that stands still. What it does over real connections: test/upstream/http-upstream-outage.test.ts.
import t from "tap";
import type { Notice } from "../../../src/ports/event.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../../src/ports/upstream.ts";
import { UpstreamCircuit } from "../../../src/upstream/connection/upstream-circuit.ts";
import { eventually, ManualClock, ManualPause, quiet } from "../../fixtures/manual-time.ts";

function setUp(random = 0) {
  const clock = new ManualClock();
  const time = new ManualPause();
  const notices: Notice[] = [];
  /** Ends the probe under way: whether upstream answered. */
  const probes: { signal: AbortSignal; end: (answered: boolean) => void }[] = [];
  const circuit = new UpstreamCircuit({
    upstream: "main",
    probe: (signal) => {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      signal.addEventListener("abort", () => resolve(false));
      probes.push({ signal, end: resolve });
      return promise;
    },
    notices: (notice) => notices.push(notice),
    clock: clock.read,
    pause: time.pause,
    random: () => random,
  });
  let sent = 0;
  const ask = (outcome: number | UpstreamErrorCode, question = "team/app/manifests/1") =>
    circuit
      .run(question, async () => {
        sent++;
        if (typeof outcome === "number") return { statusCode: outcome };
        throw new UpstreamError(outcome, "by the test");
      })
      .then(
        ({ statusCode }) => statusCode,
        (error: UpstreamError) => error.code,
      );
  const states = () => notices.map((notice) => (notice.kind === "circuit" ? notice.state : notice.kind));
  /** The time of the pause under way goes by, and the circuit's next one begins. */
  const elapse = async () => {
    const before = time.asked.length;
    clock.advance(time.asked.at(-1) ?? 0);
    time.elapse();
    await eventually("the next turn", () => time.asked.length > before || circuit.state === "closed");
  };
  return { circuit, clock, time, notices, probes, ask, states, elapse, sent: () => sent };
}

async function opened(random?: number) {
  const circuit = setUp(random);
  for (let failure = 0; failure < 3; failure++) await circuit.ask("unreachable");
  return circuit;
}

t.test("three failures in a row open it, a time-out counting twice", async (t) => {
  for (const [outcomes, state] of [
    [["unreachable", "unreachable"], "closed"],
    [["unreachable", "unreachable", "unreachable"], "open"],
    [["timeout"], "closed"],
    [["timeout", "timeout"], "open"],
    [["unreachable", "timeout"], "open"],
    [["unreachable", "unreachable", 200, "unreachable", "unreachable"], "closed"],
    [["timeout", 404, "timeout", 401, "timeout", 429], "closed"],
    [["protocol", "auth", "rate_limited", "redirect_refused", "protocol"], "closed"],
    [["unreachable", "unreachable", 508, "unreachable", "unreachable"], "closed"],
    [["unreachable", "protocol", "unreachable", "protocol", "unreachable"], "open"],
  ] as const) {
    const { circuit, ask } = setUp();
    for (const outcome of outcomes) t.equal(await ask(outcome), outcome);
    t.equal(circuit.state, state, outcomes.join(" "));
    circuit.close();
  }
});

t.test("server errors count once per question: a broken image is no broken upstream", async (t) => {
  const one = setUp();
  for (let round = 0; round < 20; round++) t.equal(await one.ask(500), 500);
  t.equal(one.circuit.state, "closed");
  const several = setUp();
  for (const [question, state] of [
    ["a", "closed"],
    ["b", "closed"],
    ["a", "closed"],
    ["c", "open"],
  ] as const) {
    t.equal(await several.ask(503, question), 503);
    t.equal(several.circuit.state, state);
  }
  several.circuit.close();
  const apart = setUp();
  for (const question of ["a", "b", "c", "d"]) {
    await apart.ask(502, question);
    await apart.ask(200);
  }
  t.equal(apart.circuit.state, "closed");
});

t.test("while it is open nothing is sent, and everybody is told when to come back", async (t) => {
  const { circuit, clock, ask, sent } = await opened();
  t.equal(circuit.state, "open");
  for (let round = 0; round < 100; round++) t.equal(await ask(200), "circuit_open");
  t.equal(sent(), 3);
  t.throws(() => circuit.check(), { code: "circuit_open", retryAfter: 2, message: /upstream main/ });
  clock.advance(1_500);
  t.throws(() => circuit.check(), { code: "circuit_open", retryAfter: 1 });
  clock.advance(-3_600_000);
  t.throws(
    () => circuit.check(),
    { code: "circuit_open", retryAfter: 4 },
    "also when the clock was set back",
  );
  circuit.close();
});

t.test("an answered probe closes it", async (t) => {
  const { circuit, probes, ask, states, elapse, notices } = await opened();
  await elapse();
  t.equal(circuit.state, "half_open");
  t.equal(await ask(200), "circuit_open", "nobody has to wait for the probe");
  probes[0]?.end(true);
  await eventually("closed", () => circuit.state === "closed");
  t.same(states(), ["open", "half_open", "closed"]);
  t.match(notices, [{ previous: "closed" }, { previous: "open" }, { previous: "half_open" }]);
  t.equal(await ask(200), 200);
  t.equal(await ask("unreachable"), "unreachable");
  t.equal(await ask("unreachable"), "unreachable");
  t.equal(circuit.state, "closed", "counting has begun anew");
});

t.test("probes begin two seconds after it opened and never more than four apart", async (t) => {
  for (const [random, pauses] of [
    [0, [2_000, 3_000, 4_000, 4_000, 4_000]],
    [1, [1_600, 2_400, 3_200, 3_200, 3_200]],
  ] as const) {
    const { circuit, time, probes, elapse, ask, states } = await opened(random);
    for (let turn = 1; turn < pauses.length; turn++) {
      await elapse();
      t.equal(probes.length, turn);
      probes.at(-1)?.end(false);
      await eventually("open again", () => circuit.state === "open");
      await quiet();
      t.equal(probes.length, turn, "a failed probe is not repeated before its time");
    }
    t.same(
      time.asked.map((milliseconds) => Math.round(milliseconds)),
      pauses,
    );
    t.equal(await ask(200), "circuit_open");
    t.same(states().slice(0, 5), ["open", "half_open", "open", "half_open", "open"]);
    circuit.close();
  }
});

t.test("a probe that is left hanging is given up for the next one", async (t) => {
  const { circuit, probes, elapse } = await opened();
  await elapse();
  await elapse();
  t.equal(probes.length, 2);
  t.equal(probes[0]?.signal.aborted, true);
  t.equal(probes[1]?.signal.aborted, false);
  probes[1]?.end(true);
  await eventually("closed", () => circuit.state === "closed");
});

t.test("what was asked before the outage ended and fails after it is no news", async (t) => {
  const { circuit, probes, elapse, states } = setUp();
  const hanging = Array.from({ length: 50 }, () => Promise.withResolvers<{ statusCode: number }>());
  const asked = hanging.map(({ promise }, at) => circuit.run(`${at}`, () => promise).catch(() => {}));
  const fail = (at: number) => hanging[at]?.reject(new UpstreamError("timeout", "by the test"));
  fail(0);
  fail(1);
  await eventually("open", () => circuit.state === "open");
  await elapse();
  fail(2);
  fail(3);
  await quiet();
  t.equal(circuit.state, "half_open", "nor do they spoil the probe");
  probes[0]?.end(true);
  await eventually("closed", () => circuit.state === "closed");
  for (let at = 4; at < hanging.length; at++) fail(at);
  await Promise.all(asked);
  t.same(states(), ["open", "half_open", "closed"]);
});

t.test("an answer to an older question does not hide that newer ones are left hanging", async (t) => {
  const { circuit } = setUp();
  const older = Promise.withResolvers<{ statusCode: number }>();
  const newer = [1, 2].map(() => Promise.withResolvers<{ statusCode: number }>());
  const first = circuit.run("a", () => older.promise);
  const others = newer.map(({ promise }, at) => circuit.run(`${at}`, () => promise));
  older.resolve({ statusCode: 200 });
  await first;
  for (const { reject } of newer) reject(new UpstreamError("timeout", "by the test"));
  await Promise.allSettled(others);
  t.equal(circuit.state, "open");
  circuit.close();
});

t.test("an error that is not upstream's counts for nothing", async (t) => {
  const { circuit } = setUp();
  const gone = new DOMException("nobody wants it", "AbortError");
  for (let round = 0; round < 10; round++)
    await t.rejects(
      circuit.run("a", () => Promise.reject(gone)),
      { name: "AbortError" },
    );
  t.equal(circuit.state, "closed");
});

t.test("closing ends the probes", async (t) => {
  const { circuit, time, probes, elapse } = await opened();
  await elapse();
  circuit.close();
  await quiet();
  t.equal(probes[0]?.signal.aborted, true);
  t.equal(time.waiting, 0);
  t.equal(probes.length, 1);
});
