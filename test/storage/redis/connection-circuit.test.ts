import t from "tap";
import type { Circuit } from "../../../src/ports/circuit.ts";
import { redisCircuit } from "../../../src/storage/redis/connection.ts";
import { eventually, ManualPause, quiet } from "../../fixtures/manual-time.ts";

const timeout = async (): Promise<never> => {
  throw new Error("Command timed out");
};
const refusal = async (): Promise<never> => {
  throw new Error("OOM command not allowed when used memory > 'maxmemory'.");
};

function openCircuit() {
  const time = new ManualPause();
  const seen = { resets: 0, probes: 0, changes: 0, alive: false };
  const circuit = redisCircuit({
    reset: () => {
      seen.resets++;
    },
    probe: async () => {
      seen.probes++;
      if (!seen.alive) throw new Error("not connected");
    },
    changed: () => {
      seen.changes++;
    },
    pause: time.pause,
  });
  // The pauses of this circuit are shorter than a second at random.
  time.instant = () => false;
  return { circuit, time, seen };
}

async function ask(circuit: Circuit, ...asks: (() => Promise<unknown>)[]): Promise<void> {
  for (const each of asks) await circuit.run(each).catch(() => {});
}

t.test("three unanswered questions in a row, and no other failure, open it", async (t) => {
  const { circuit, seen } = openCircuit();
  await ask(circuit, timeout, timeout, async () => "answer", timeout, timeout);
  t.ok(circuit.isClosed, "an answer in between");
  await ask(circuit, refusal, timeout, timeout, refusal, refusal, refusal, refusal);
  t.ok(circuit.isClosed, "a refusal is an answer");
  t.equal(seen.changes, 0);
  await ask(circuit, timeout, timeout, timeout);
  t.notOk(circuit.isClosed);
  t.equal(seen.changes, 1);
  circuit.close();
});

t.test("it is probed, each time over a new connection, until it answers", async (t) => {
  const { circuit, time, seen } = openCircuit();
  await ask(circuit, timeout, timeout, timeout);
  for (let probes = 1; probes <= 3; probes++) {
    t.equal(seen.resets, probes);
    time.elapse();
    await eventually("a probe", () => seen.probes === probes && time.waiting === 1);
    t.notOk(circuit.isClosed);
  }
  t.ok(
    time.asked.every((milliseconds) => milliseconds >= 800 && milliseconds <= 1_000),
    "about a second apart",
  );
  seen.alive = true;
  time.elapse();
  await eventually("it is closed", () => circuit.isClosed);
  await quiet();
  t.equal(time.waiting, 0, "nothing goes on");
  await ask(circuit, timeout, timeout);
  t.ok(circuit.isClosed, "counted from the beginning");
  await ask(circuit, timeout);
  t.notOk(circuit.isClosed);
  circuit.close();
  await quiet();
  t.equal(time.waiting, 0, "closing ends the probes");
  t.equal(seen.probes, 4);
});
