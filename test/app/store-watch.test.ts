// The cache directory goes away and comes back: told once each, without a restart.
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { StoreWatch } from "../../src/app/store-watch.ts";
import { Health } from "../../src/ops/health.ts";
import type { Notice } from "../../src/ports/event.ts";
import { type DiskStore, openDiskStore } from "../../src/storage/disk/store.ts";
import { getBlob, putBlob, someBytes } from "../fixtures/blob-store-suite.ts";
import { gate, ManualClock } from "../fixtures/manual-time.ts";

async function watched(t: Test, probe?: (store: DiskStore) => Promise<boolean>) {
  const directory = join(t.testdir(), "cache");
  const store = await openDiskStore({ directory });
  t.teardown(() => store.close());
  const health = new Health();
  for (const name of ["store", "listening"]) health.set(name, true);
  const notices: Notice[] = [];
  const clock = new ManualClock();
  let replaced = 0;
  const watch = new StoreWatch({
    probe: () => (probe === undefined ? store.probe() : probe(store)),
    replaced: () => replaced++,
    health,
    notices: (notice) => notices.push(notice),
    steady: clock.read,
  });
  return { directory, store, health, notices, clock, watch, replaced: () => replaced };
}

t.test("a directory that is renamed and comes back is used again, with what it has", async (t) => {
  const { directory, store, health, notices, watch, replaced } = await watched(t);
  const bytes = someBytes(1000);
  const digest = await putBlob(store, bytes);
  await watch.check();
  t.same([health.ready(), notices], [true, []]);
  await rename(directory, `${directory}-away`);
  for (const _ of [1, 2]) await watch.check();
  t.equal(health.ready(), false);
  t.match(health.failing(), [/^store failed: cannot use the cache directory/]);
  t.match(notices, [{ kind: "store", usable: false, message: /ENOENT/ }]);
  t.equal(existsSync(directory), false, "it is not made anew where it was");
  await rename(`${directory}-away`, directory);
  await watch.check();
  t.equal(health.ready(), true);
  t.match(notices.slice(1), [{ kind: "store", usable: true }]);
  t.equal(replaced(), 0);
  t.ok((await getBlob(store, digest))?.equals(bytes));
});

t.test("an empty one in its place, and one that was emptied, begin a new cache", async (t) => {
  for (const empty of [
    async (directory: string) => {
      await rm(directory, { recursive: true });
      await mkdir(directory);
    },
    async (directory: string) => {
      for (const name of ["blobs", "spool", "spool.lock"])
        await rm(join(directory, name), { recursive: true });
    },
  ])
    await t.test(async (t) => {
      const { directory, store, health, notices, watch, replaced } = await watched(t);
      const bytes = someBytes(1000);
      const digest = await putBlob(store, bytes);
      await empty(directory);
      await watch.check();
      t.equal(replaced(), 1);
      t.same([health.ready(), notices], [true, []]);
      t.equal(await getBlob(store, digest), undefined);
      await putBlob(store, bytes);
      t.ok((await getBlob(store, digest))?.equals(bytes));
      await t.rejects(openDiskStore({ directory }), { code: "unavailable" }, "it is locked again");
      await watch.check();
      t.equal(replaced(), 1);
    });
});

t.test("another directory with a cache in it is taken over", async (t) => {
  const { directory, store, watch, replaced } = await watched(t);
  const other = await openDiskStore({ directory: `${directory}-other` });
  const digest = await putBlob(other, someBytes(10, 2));
  await other.close();
  await rm(directory, { recursive: true });
  await rename(`${directory}-other`, directory);
  await watch.check();
  t.equal(replaced(), 1);
  t.ok(await getBlob(store, digest));
});

t.test("a look that does not end is told, and others wait for it", async (t) => {
  const hanging = gate();
  let looks = 0;
  const { health, notices, clock, watch } = await watched(t, async () => {
    looks++;
    await hanging.opened;
    return false;
  });
  const first = watch.check();
  void watch.check();
  t.equal(health.ready(), true);
  clock.advance(10_000);
  void watch.check();
  t.equal(looks, 1);
  t.match(health.failing(), [/does not answer/]);
  hanging.open();
  await first;
  t.equal(health.ready(), true);
  t.match(notices, [{ usable: false }, { usable: true }]);
});
