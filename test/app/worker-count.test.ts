import t from "tap";
import { machineWith, workerCount } from "../../src/app/worker-count.ts";

const gibibyte = 1024 ** 3;

t.test("a number is what was set; without one it is the process itself", async (t) => {
  const machine = { cores: 2, memory: gibibyte / 4 };
  t.equal(workerCount(12, machine), 12);
  t.equal(workerCount(undefined, machine), 1);
});

t.test("auto: a worker for each core, at most eight, as memory allows", async (t) => {
  for (const [cores, gigabytes, count] of [
    [1, 16, 1],
    [2, 16, 2],
    [8, 16, 8],
    [64, 256, 8],
    [8, 1, 4],
    [8, 0.6, 1],
    [8, 0.25, 1],
  ] as const)
    t.equal(
      workerCount("auto", { cores, memory: gigabytes * gibibyte }),
      count,
      `${cores} cores, ${gigabytes} GiB`,
    );
});

t.test("the machine has the memory it may use", async (t) => {
  const { cores, memory } = machineWith(0);
  t.ok(cores >= 1);
  t.ok(memory > gibibyte / 4, "all of it");
  t.equal(machineWith(1000).memory, 1000);
  t.equal(machineWith(2 ** 64).memory, memory);
});
