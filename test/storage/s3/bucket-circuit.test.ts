import t, { type Test } from "tap";
import { StoreError } from "../../../src/ports/blobs.ts";
import { bucketCircuit } from "../../../src/storage/s3/bucket.ts";
import { S3Outage } from "../../../src/storage/s3/failure.ts";
import { eventually, ManualPause, quiet } from "../../fixtures/manual-time.ts";

const outage = new S3Outage("unavailable", "down");
const protocolError = new StoreError("io", "wrong");

function circuitOf(t: Test) {
  const time = new ManualPause();
  const states: string[] = [];
  let works = false;
  let probes = 0;
  const circuit = bucketCircuit({
    bucket: "cache",
    probe: async () => {
      probes++;
      if (!works) throw outage;
    },
    pause: time.pause,
    changed: (state) => states.push(state),
  });
  t.teardown(() => circuit.close());
  const fail = (error: StoreError) =>
    t.rejects(
      circuit.run(() => Promise.reject(error)),
      error,
    );
  return { time, states, circuit, fail, probes: () => probes, repair: () => (works = true) };
}

t.test("three failures in a row open it, and a probe closes it again", async (t) => {
  const { time, states, circuit, fail, probes, repair } = circuitOf(t);
  await fail(outage);
  await fail(outage);
  t.equal(await circuit.run(async () => 1), 1);
  await fail(outage);
  await fail(protocolError);
  await fail(outage);
  t.equal(circuit.state, "closed", "not in a row, or not an outage");
  await fail(outage);
  t.equal(circuit.state, "open");
  let asked = false;
  await t.rejects(
    circuit.run(async () => {
      asked = true;
    }),
    { name: "StoreError", code: "unavailable", message: /not asked for now/ },
  );
  t.notOk(asked);
  await eventually("a probe is planned", () => time.waiting === 1);
  t.ok(time.asked.every((milliseconds) => milliseconds <= 2_000 && milliseconds >= 1_600));
  time.elapse();
  await eventually("the next one is planned", () => time.waiting === 1);
  t.equal(probes(), 1);
  t.equal(circuit.state, "open");
  repair();
  time.elapse();
  await eventually("it is closed", () => circuit.state === "closed");
  t.same(states, ["open", "half_open", "open", "half_open", "closed"]);
  t.equal(await circuit.run(async () => 2), 2);
  await quiet();
  t.equal(time.waiting, 0, "no probes of what works");
});

t.test("an answer that began well and failed counts too", async (t) => {
  const { circuit } = circuitOf(t);
  for (let i = 0; i < 3; i++) circuit.failed(outage);
  await quiet();
  t.equal(circuit.state, "open");
  circuit.failed(outage);
});

t.test("closing it ends the probes", async (t) => {
  const { time, circuit, fail, probes } = circuitOf(t);
  for (let i = 0; i < 3; i++) await fail(outage);
  await eventually("a probe is planned", () => time.waiting === 1);
  circuit.close();
  await quiet();
  t.equal(time.waiting, 0);
  t.equal(probes(), 0);
});
