// Memory of running fills: bounded per fill and over all fills, whatever the disk and the clients do.
import t from "tap";
import type { Fill } from "../../../src/cache/fill/fill.ts";
import { holdBack } from "../../../src/cache/fill/range-plan.ts";
import { manyFollowers } from "../../../src/cache/fill/reading.ts";
import { chunkSize } from "../../../src/cache/fill/shared-chunks.ts";
import { WindowBudget } from "../../../src/cache/fill/window.ts";
import type { BlobReader } from "../../../src/ports/blobs.ts";
import {
  mebibyte,
  nothingLeft,
  openCache,
  readAll,
  readBytes,
  startFill,
} from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";

const bytes = randomBytesFor("layer", 3 * mebibyte + 321);
const share = 512 * 1024;
const chunk = 16 * 1024;

t.test("a disk that is slow makes the fill wait, not grow", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const slow = gate();
  cache.store.faults.set("append", () => slow.opened);
  const fill = startFill(cache, digest, { windowBytes: share });
  await eventually("the window is full", () => fill.held > share);
  await quiet();
  t.ok(fill.held <= share + chunk, `${fill.held} bytes`);
  t.equal(cache.upstream.sending, 1);
  slow.open();
  await fill.done;
  await nothingLeft(t, cache);
});

t.test("writes are batched: by 1 MiB, or by half the share when that is less", async (t) => {
  for (const [windowBytes, batch] of [
    [64 * mebibyte, mebibyte],
    [mebibyte, mebibyte / 2],
  ] as const)
    await t.test(`${windowBytes} bytes for all fills`, async (t) => {
      const cache = await openCache(t);
      const digest = cache.upstream.addBlob("team/app", bytes);
      const sizes: number[] = [];
      cache.store.faults.set("append", ({ bytes: size }) => sizes.push(size));
      const { spooled } = { spooled: () => cache.store.spooled };
      cache.upstream.transfers.push({
        pace: (at) => eventually("what was to be written is written", () => spooled() >= at - (at % batch)),
      });
      await startFill(cache, digest, { windowBytes }).done;
      const whole = Math.floor(bytes.length / batch);
      t.same(sizes, [...Array.from({ length: whole }, () => batch), bytes.length % batch]);
    });
});

t.test("what arrives during a write goes with the next one", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const slow = gate();
  const sizes: number[] = [];
  cache.store.faults.set("append", async ({ bytes: size }) => {
    sizes.push(size);
    if (sizes.length === 1) await slow.opened;
  });
  const fill = startFill(cache, digest);
  await eventually("as much is here as may be held", () => fill.received >= 2 * mebibyte);
  t.same(sizes, [mebibyte], "one write at a time");
  slow.open();
  await fill.done;
  t.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    bytes.length,
  );
  t.ok((sizes[1] ?? 0) >= mebibyte, "all that had come meanwhile");
});

t.test("a fill whose share shrinks writes what is too much before it takes more", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const budget = new WindowBudget(4 * mebibyte);
  const slow = gate();
  const shrunk = gate();
  cache.store.faults.set("append", () => slow.opened);
  const heldAt: number[] = [];
  cache.upstream.transfers.push({
    pace: async (at) => {
      if (at === 2 * mebibyte) await shrunk.opened;
      if (at > 2 * mebibyte) heldAt.push(fill.held);
    },
  });
  const fill: Fill = startFill(cache, digest, { budget });
  await eventually("2 MiB are here", () => fill.received === 2 * mebibyte);
  for (let others = 0; others < 7; others++) budget.enter();
  t.equal(budget.share, share);
  shrunk.open();
  await quiet();
  slow.open();
  await fill.done;
  t.ok(heldAt.length > 0 && Math.max(...heldAt) <= share, `at most ${Math.max(...heldAt)} bytes`);
});

t.test("several fills share one budget, and the bound holds over all of them", async (t) => {
  const cache = await openCache(t);
  const budget = new WindowBudget(2 * mebibyte);
  const blobs = [0, 1, 2, 3].map((at) => randomBytesFor(`layer ${at}`, 2 * mebibyte));
  const digests = blobs.map((blob) => cache.upstream.addBlob("team/app", blob));
  let fills: Fill[] = [];
  let most = 0;
  const pace = () => {
    most = Math.max(
      most,
      fills.reduce((sum, { held }) => sum + held, 0),
    );
  };
  cache.upstream.transfers.push(...blobs.map(() => ({ pace })));
  fills = digests.map((digest) => startFill(cache, digest, { budget }));
  t.equal(budget.share, share);
  const readers = fills.map((fill) => fill.follow());
  await Promise.all(fills.map((fill) => fill.done));
  t.ok(most > 0 && most <= 2 * mebibyte + 4 * chunk, `at most ${most} bytes`);
  t.equal(budget.share, 2 * mebibyte, "fills that are over take no part");
  for (const [at, reader] of readers.entries()) t.ok((await readAll(reader)).equals(blobs[at] as Buffer));
  await nothingLeft(t, cache);
});

t.test("a fill that is over holds nothing in memory, however slow its followers are", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const fill = startFill(cache, digest);
  const slow = fill.follow();
  await slow.read(0, Buffer.alloc(100));
  await fill.done;
  t.equal(fill.held, 0);
  t.ok((await readBytes(slow)).equals(bytes));
  t.equal(cache.store.spoolBytesRead, bytes.length);
  await slow.close();
});

t.test("a fill that has failed or was refused gives its share back", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const budget = new WindowBudget(mebibyte);
  cache.upstream.transfers.push({ refuse: "denied" }, { bytes: bytes.subarray(1) });
  for (const _ of [1, 2]) {
    const fill = startFill(cache, digest, { budget });
    const other = startFill(cache, digest, { budget, open: async () => ({ kind: "absent" }) });
    t.equal(budget.share, share);
    await Promise.all([fill.done, other.done]);
    t.equal(budget.share, mebibyte);
    t.equal(fill.held, 0);
  }
});

t.test("arrived: when there is something to read, and the newest of it is read from memory", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const middle = gate();
  cache.upstream.transfers.push({ hold: { at: 2 * mebibyte, until: middle.opened } });
  const fill = startFill(cache, digest, { windowBytes: share });
  const reader = fill.follow();
  const arrived = reader.arrived?.bind(reader) as NonNullable<typeof reader.arrived>;
  await eventually("2 MiB are here, most of them no longer in memory", () => {
    return fill.received === 2 * mebibyte && fill.held <= share;
  });
  await arrived(0);
  const newest = 2 * mebibyte - 3 * chunk;
  const scratch = Buffer.alloc(mebibyte);
  const read = await reader.read(newest + 1, scratch);
  t.ok(read.equals(bytes.subarray(newest + 1, 2 * mebibyte)), "all that has come, in one piece");
  t.equal(read.buffer, scratch.buffer, "a copy: the fill uses its memory again");
  t.equal(cache.store.spoolBytesRead, 0);
  let came = false;
  const next = arrived(2 * mebibyte).finally(() => {
    came = true;
  });
  await quiet();
  t.equal(came, false);
  middle.open();
  await next;
  await fill.done;
  await arrived(bytes.length);
  t.equal((await reader.read(bytes.length, scratch)).length, 0, "the end");
  await reader.close();
});

t.test(
  "many followers are sent the fill's own memory, and read the spool once for all of them",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    const middle = gate();
    const at = bytes.length - chunk;
    cache.upstream.transfers.push({ hold: { at, until: middle.opened } });
    const fill = startFill(cache, digest, { windowBytes: share });
    const readers = Array.from({ length: manyFollowers }, () => fill.follow());
    const lendAll = (position: number) =>
      Promise.all(readers.map((reader) => reader.lend?.(position, mebibyte)));
    await eventually("most is no longer in memory", () => fill.received === at && fill.held <= share);
    for (const lent of await lendAll(100)) {
      t.ok(lent?.bytes.equals(bytes.subarray(100, chunkSize)), "from the spool");
      lent?.giveBack(true);
    }
    t.equal(cache.store.spoolBytesRead, chunkSize);
    const newest = at - 8 * chunk;
    for (const lent of await lendAll(newest)) {
      const length = lent?.bytes.length as number;
      t.ok(length > 0 && newest + length <= bytes.length - holdBack, "never what is held back");
      t.ok(lent?.bytes.equals(bytes.subarray(newest, newest + length)), "from memory");
      lent?.giveBack(true);
    }
    t.equal(cache.store.spoolBytesRead, chunkSize);
    middle.open();
    await fill.done;
    t.ok(
      (await lendAll(bytes.length)).every((lent) => lent === undefined),
      "nothing at the end",
    );
    for (const reader of readers) await reader.close();
    await nothingLeft(t, cache);
  },
);

t.test("many followers of any pace get every byte once", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const fill = startFill(cache, digest, { windowBytes: share });
  const readers = Array.from({ length: manyFollowers + 8 }, () => fill.follow());
  const drain = async (reader: BlobReader, at: number): Promise<Buffer> => {
    const parts: Buffer[] = [];
    for (let position = 0; position < bytes.length; ) {
      const max = chunk + ((at * 7_919) % mebibyte);
      const lent = await reader.lend?.(position, max);
      if (at % 3 === 0) await quiet();
      const part = Buffer.from(lent?.bytes ?? (await reader.read(position, Buffer.alloc(max))));
      lent?.giveBack(at % 5 > 0);
      parts.push(part);
      position += part.length;
    }
    await reader.close();
    return Buffer.concat(parts);
  };
  for (const got of await Promise.all(readers.map(drain))) t.ok(got.equals(bytes));
  await fill.done;
  await nothingLeft(t, cache);
});

t.test("arrived fails when the fill has failed", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  cache.upstream.transfers.push({ refuse: "denied" });
  cache.upstream.transfers.unshift({ cutAt: mebibyte });
  const reader = startFill(cache, digest).follow();
  await t.rejects(Promise.resolve(reader.arrived?.(2 * mebibyte)), { code: "protocol" });
  await reader.close();
});
