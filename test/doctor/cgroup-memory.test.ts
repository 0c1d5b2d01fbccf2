// Control groups as the kernel shows them, in a directory of the test's own.
import { join } from "node:path";
import t, { type Test } from "tap";
import { memoryLimitOf } from "../../src/doctor/cgroup-memory.ts";

interface Tree {
  readonly [name: string]: Tree | string;
}

function limitOf(t: Test, cgroup: string, groups: Tree): number | undefined {
  const root = t.testdir({
    proc: { 7: { cgroup } },
    mount: groups as Parameters<Test["testdir"]>[0] & object,
  });
  return memoryLimitOf(7, { proc: join(root, "proc"), mount: join(root, "mount") });
}

t.test("version 2: the least of the group and those above it", async (t) => {
  const groups = {
    "system.slice": { "memory.max": "500000000\n", "entrepot.service": { "memory.max": "800000000\n" } },
  };
  t.equal(limitOf(t, "0::/system.slice/entrepot.service\n", groups), 500_000_000);
});

t.test("version 2 without a limit", async (t) => {
  t.equal(limitOf(t, "0::/a\n", { a: { "memory.max": "max\n" } }), undefined);
});

t.test("version 2 in a container, which sees its own group at the top", async (t) => {
  t.equal(limitOf(t, "0::/../../elsewhere\n", { "memory.max": "256000000\n" }), 256_000_000);
});

t.test("version 1: the memory controller's own tree, where no limit is a very large one", async (t) => {
  const lines = "12:cpu,cpuacct:/docker/x\n7:memory:/docker/x\n0::/docker/x\n";
  const memory = (limit: string): Tree => ({
    memory: {
      "memory.limit_in_bytes": "9223372036854771712\n",
      docker: { x: { "memory.limit_in_bytes": limit } },
    },
  });
  t.equal(limitOf(t, lines, memory("300000000\n")), 300_000_000);
  t.equal(limitOf(t, lines, memory("9223372036854771712\n")), undefined);
});

t.test("no such process, and this one", async (t) => {
  const root = t.testdir({});
  t.equal(memoryLimitOf(7, { proc: root, mount: root }), undefined);
  const own = memoryLimitOf(undefined);
  t.ok(own === undefined || own > 0);
});
