// A process begins on a cache directory only when the workers of the one before have ended.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t from "tap";
import { openDiskStore } from "../../../src/storage/disk/store.ts";
import { awaitWorkers, lockAsWorker } from "../../../src/storage/disk/workers-lock.ts";

t.test("a directory is waited for while any worker holds it", async (t) => {
  const directory = t.testdir();
  const file = join(directory, "workers.lock");
  const locks = [lockAsWorker(file), lockAsWorker(file)];
  let looks = 0;
  await awaitWorkers(directory, file, async () => {
    if (++looks === 3) locks[0]?.release();
    if (looks === 7) locks[1]?.release();
  });
  t.equal(looks, 7);
  const again = lockAsWorker(file);
  t.teardown(() => again.release());
});

t.test("not for ever", async (t) => {
  const directory = t.testdir();
  const lock = lockAsWorker(join(directory, "workers.lock"));
  t.teardown(() => lock.release());
  let waited = 0;
  const pause = async (milliseconds: number) => {
    waited += milliseconds;
  };
  const store = openDiskStore({ directory, pause });
  await t.rejects(store, { code: "unavailable", message: /in use by workers of a process that has ended/ });
  t.equal(waited, 15_000);
});

t.test("a node without workers makes no file", async (t) => {
  const directory = t.testdir();
  const store = await openDiskStore({ directory });
  await store.close();
  t.notOk(existsSync(join(directory, "workers.lock")));
});

t.test("a lock nobody refers to any more is still held", async (t) => {
  const directory = t.testdir();
  const file = join(directory, "workers.lock");
  lockAsWorker(file);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let turn = 0; turn < 3; turn++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await t.rejects(
    awaitWorkers(directory, file, async () => {}),
    { code: "unavailable" },
  );
});

t.test("a file that cannot be locked is an error, not a worker", async (t) => {
  const directory = t.testdir({ "workers.lock": "no database at all ".repeat(100) });
  const file = join(directory, "workers.lock");
  t.throws(() => lockAsWorker(file), { name: "StoreError" });
  await t.rejects(
    awaitWorkers(directory, file, async () => {}),
    { name: "StoreError" },
  );
});
