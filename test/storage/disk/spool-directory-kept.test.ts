// Spools that are kept to be resumed: over restarts and crashes, and within their bounds.
import { appendFile, readdir, readFile, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { type DiskStore, openDiskStore } from "../../../src/storage/disk/store.ts";
import { digestOf, keepStart, readRange, someBytes } from "../../fixtures/blob-store-suite.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const bytes = someBytes(5_000, 21);
const digest = digestOf(bytes);
const hour = 3600_000;

interface Opened {
  readonly store: DiskStore;
  readonly clock: ManualClock;
  readonly directory: string;
  /** Closes it, and opens the directory anew. */
  readonly again: (between?: () => Promise<unknown>) => Promise<DiskStore>;
}

async function openStore(t: Test, keptBytes?: number): Promise<Opened> {
  const directory = t.testdir();
  const clock = new ManualClock();
  const open = () =>
    openDiskStore({
      directory,
      clock: clock.read,
      ...(keptBytes === undefined ? {} : { keptBytes: () => keptBytes }),
    });
  const store = await open();
  t.teardown(() => store.close());
  const again = async (between?: () => Promise<unknown>) => {
    await store.close();
    await between?.();
    const next = await open();
    t.teardown(() => next.close());
    return next;
  };
  return { store, clock, directory, again };
}

function files(directory: string): Promise<string[]> {
  return readdir(join(directory, "spool"));
}

async function fileOf(directory: string, end: ".part" | ".kept"): Promise<string> {
  const name = (await files(directory)).find((each) => each.endsWith(end));
  if (name === undefined) throw new Error(`no ${end}`);
  return join(directory, "spool", name);
}

/** Bytes that can be resumed from; they are thrown away. */
async function resumable(store: DiskStore, of: Digest = digest): Promise<number | undefined> {
  const kept = await store.resume(of, "up");
  const written = kept?.writer.written;
  await kept?.writer.abort();
  await kept?.writer.release();
  return written;
}

t.test("it is there after a restart, and is swept by none", async (t) => {
  const { store, again } = await openStore(t);
  const record = await keepStart(store, bytes, 4_000);
  t.equal(await store.sweep(), 0);
  const next = await again();
  t.equal(next.swept, 0);
  t.equal(next.spoolBytes, 4_000);
  const kept = await next.resume(digest, "up");
  t.match(kept?.record, record);
  t.ok(kept && (await readRange(kept.writer, 0, 4_000)).equals(bytes.subarray(0, 4_000)));
  t.equal(await next.sweep(), 0, "nor while it is gone on from");
  await kept?.writer.append([bytes.subarray(4_000)]);
  await kept?.writer.commit(digest, bytes.length);
  await kept?.writer.release();
  t.equal(next.spoolBytes, 0);
});

t.test("what a crash may leave of it is swept, by the next start", async (t) => {
  const leave: Record<string, (part: string, record: string) => Promise<unknown>> = {
    "the bytes without their record": (_, record) => unlink(record),
    "the record without its bytes": (part) => unlink(part),
    "a torn record": (_, record) => truncate(record, 50),
    "an empty record": (_, record) => truncate(record, 0),
    "fewer bytes": (part) => truncate(part, 3_999),
    "no bytes": (part) => truncate(part, 0),
    "more bytes": (part) => appendFile(part, "x"),
    "a record of nothing": (_, record) => writeFile(record, "null"),
    "a record of something else": (_, record) => writeFile(record, '{"digest":"sha256:1"}'),
    "a record that is far too long": (_, record) => writeFile(record, `${" ".repeat(10_000)}{}`),
    "a record of a whole blob": async (_, record) =>
      writeFile(record, (await readFile(record, "utf8")).replace('"size":5000', '"size":4000')),
    "a record of no digest": async (_, record) =>
      writeFile(record, (await readFile(record, "utf8")).replace("sha256:", "sha256:../")),
  };
  for (const [what, make] of Object.entries(leave))
    await t.test(what, async (t) => {
      const { store, directory, again } = await openStore(t);
      await keepStart(store, bytes, 4_000);
      const [part, record] = [await fileOf(directory, ".part"), await fileOf(directory, ".kept")];
      const next = await again(() => make(part, record));
      t.ok(next.swept > 0);
      t.same(await files(directory), []);
      t.equal(next.spoolBytes, 0);
      t.equal(await resumable(next), undefined);
    });
});

t.test("killed while it is gone on from, it is a spool like any other", async (t) => {
  const { store, directory, again } = await openStore(t);
  await keepStart(store, bytes, 4_000);
  const kept = await store.resume(digest, "up");
  t.teardown(() => kept?.writer.release());
  await kept?.writer.append([bytes.subarray(4_000, 4_500)]);
  const next = await again();
  t.equal(next.swept, 1);
  t.same(await files(directory), []);
});

t.test("bytes that were cut behind the store's back are not gone on from", async (t) => {
  const { store, directory } = await openStore(t);
  await keepStart(store, bytes, 4_000);
  await truncate(await fileOf(directory, ".part"), 100);
  t.equal(await resumable(store), undefined);
  t.same(await files(directory), []);
  t.equal(store.spoolBytes, 0);
});

t.test("nor are those that are gone", async (t) => {
  const { store, directory } = await openStore(t);
  await keepStart(store, bytes, 4_000);
  await unlink(await fileOf(directory, ".part"));
  t.equal(await resumable(store), undefined);
  t.equal(store.spoolBytes, 0);
  await store.sweep();
  t.same(await files(directory), []);
});

t.test("it is kept for an hour", async (t) => {
  await t.test("and then swept", async (t) => {
    const { store, clock, directory } = await openStore(t);
    await keepStart(store, bytes, 4_000);
    clock.advance(hour);
    await store.sweep();
    t.equal((await files(directory)).length, 2);
    clock.advance(1);
    await store.sweep();
    t.same(await files(directory), []);
    t.equal(store.spoolBytes, 0);
  });

  await t.test("or, before a sweep, not found", async (t) => {
    const { store, clock, directory } = await openStore(t);
    await keepStart(store, bytes, 4_000);
    clock.advance(hour + 1);
    t.equal(await resumable(store), undefined);
    t.same(await files(directory), []);
  });

  await t.test("over a restart, and over a clock that is set back", async (t) => {
    for (const by of [hour + 1, -hour]) {
      const { store, clock, directory, again } = await openStore(t);
      await keepStart(store, bytes, 4_000);
      clock.advance(by);
      const next = await again();
      t.same(await files(directory), []);
      t.equal(await resumable(next), undefined);
      await next.close();
    }
  });
});

t.test("the oldest go when there are more bytes than the share", async (t) => {
  const { store, clock, directory, again } = await openStore(t, 10_000);
  t.equal(store.mostKept, 10_000);
  const blobs = [31, 32, 33].map((seed) => someBytes(9_000, seed));
  const digests = blobs.map((blob) => digestOf(blob));
  for (const blob of blobs) {
    clock.advance(1_000);
    await keepStart(store, blob, 4_000);
  }
  t.equal(store.spoolBytes, 8_000);
  t.equal((await files(directory)).length, 4);
  const next = await again();
  t.equal(await resumable(next, digests[0]), undefined);
  t.equal(await resumable(next, digests[1]), 4_000);
  t.equal(await resumable(next, digests[2]), 4_000);
});

t.test("nor are there more than 64", async (t) => {
  const { store, directory } = await openStore(t);
  const blobs = Array.from({ length: 66 }, (_, seed) => someBytes(100, 1_000 + seed));
  for (const blob of blobs) await keepStart(store, blob, 50);
  t.equal((await files(directory)).length, 2 * 64);
  t.equal(await resumable(store, digestOf(blobs[1] as Buffer)), undefined);
  t.equal(await resumable(store, digestOf(blobs[2] as Buffer)), 50);
});
