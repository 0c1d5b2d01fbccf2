// Without a spool to read behind, a fill is as fast as the slowest client that goes on reading.
import t, { type Test } from "tap";
import { holdBack } from "../../../src/cache/fill/range-plan.ts";
import type { BlobReader } from "../../../src/ports/blobs.ts";
import { mebibyte, readAll, readBytes } from "../../fixtures/cache-fixture.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import {
  bytes,
  chunk,
  fullAtOneMebibyte,
  noSpool,
  notStored,
  type Relay,
  relay,
  share,
  stalledTimeout,
} from "../../fixtures/relayed-fill.ts";

t.test("the slowest one that reads sets the speed, and memory stays within its bound", async (t) => {
  let most = 0;
  const run = await relay(t, bytes, noSpool, {
    pace: () => {
      most = Math.max(most, run.fill.held);
    },
  });
  const { cache, fill } = run;
  const slow = fill.follow();
  const fast = readAll(fill.follow());
  const ahead: number[] = [];
  let position = 0;
  while (position < bytes.length - holdBack - share) {
    await eventually("the fill waits for the slow one", () => cache.time.waiting === 1);
    ahead.push(fill.received - position);
    position += (await slow.read(position, Buffer.alloc(chunk))).length;
    // Only asking for the next bytes says that these have been taken.
    position += (await slow.read(position, Buffer.alloc(chunk))).length;
  }
  t.ok(
    ahead.length > 50 && Math.min(...ahead) > share - 2 * chunk && Math.max(...ahead) <= share + 2 * chunk,
  );
  t.ok((await readBytes(slow, { from: position })).equals(bytes.subarray(position)));
  await slow.close();
  t.ok((await fast).equals(bytes));
  t.ok(most <= share + chunk, `at most ${most} bytes in memory`);
  t.same(new Set(cache.time.asked), new Set([stalledTimeout]));
  t.equal(cache.time.waiting, 0, "no pause is left behind");
  await notStored(t, run, "create");
});

t.test("one that began further on holds nobody up", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const { cache, fill } = run;
  const far = fill.follow();
  const from = 2 * mebibyte;
  const range = far.read(from, Buffer.alloc(100)).finally(() => far.close());
  t.ok((await readAll(fill.follow())).equals(bytes));
  t.equal((await range).compare(bytes, from, from + 100), 0);
  t.notOk(cache.time.asked.includes(stalledTimeout) && cache.time.waiting > 0);
  await notStored(t, run, "create");
});

/** A stopped follower is dropped after the time-out; the other one completes. */
async function isDropped(t: Test, { cache, fill }: Relay, stopped: BlobReader, fast: Promise<Buffer>) {
  await eventually("the fill waits for the one that stopped", () => cache.time.waiting === 1);
  await quiet();
  t.equal(fill.followers, 2);
  cache.time.elapse();
  await eventually("it is dropped", () => fill.followers < 2);
  t.ok((await fast).equals(bytes), "the other one has everything");
  await t.rejects(stopped.read(0, Buffer.alloc(1)), { name: "StoreError", code: "no_space" });
  await stopped.close();
  t.same(cache.time.asked, [stalledTimeout]);
}

t.test("one that never reads is dropped after 30 s", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const stopped = run.fill.follow();
  await isDropped(t, run, stopped, readAll(run.fill.follow()));
  await notStored(t, run, "create");
});

t.test("one that stops within a chunk is dropped after 30 s", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const stopped = run.fill.follow();
  const position = (await stopped.read(0, Buffer.alloc(100))).length;
  await stopped.read(position, Buffer.alloc(100));
  await isDropped(t, run, stopped, readAll(run.fill.follow()));
  await notStored(t, run, "create");
});

t.test("one that stops at the end of a chunk is dropped after 30 s", async (t) => {
  const run = await relay(t, bytes, noSpool);
  const stopped = run.fill.follow();
  const fast = readAll(run.fill.follow());
  for (let position = 0; position < mebibyte; )
    position += (await stopped.read(position, Buffer.alloc(chunk))).length;
  await isDropped(t, run, stopped, fast);
  await notStored(t, run, "create");
});

/**
 * A disk that is full after 1 MiB, and a follower that has stopped just before that: behind the window's end, and
 * ahead of its start.
 */
async function stoppedInSpool(
  t: Test,
): Promise<Relay & { stopped: BlobReader; position: number; fast: Promise<Buffer> }> {
  const near = gate();
  const batch = share / 2;
  const run: Relay = await relay(t, bytes, fullAtOneMebibyte, {
    pace: async (at) => {
      await eventually(
        "the batch is written",
        () => run.cache.store.spooled >= Math.min(at - (at % batch), mebibyte),
      );
      if (at === mebibyte) await near.opened;
    },
  });
  const stopped = run.fill.follow();
  const position = mebibyte - chunk;
  await eventually("the disk is full", () => run.cache.store.spooled === mebibyte);
  await stopped.read(position, Buffer.alloc(chunk));
  const reader = run.fill.follow();
  const head = await readBytes(reader, { end: mebibyte });
  const fast = readBytes(reader, { from: mebibyte })
    .then((rest) => Buffer.concat([head, rest]))
    .finally(() => reader.close());
  near.open();
  return { ...run, stopped, position, fast };
}

t.test("one that stops in what was spooled before the disk was full is dropped after 30 s", async (t) => {
  const run = await stoppedInSpool(t);
  await isDropped(t, run, run.stopped, run.fast);
  await notStored(t, run, "append");
});

t.test("one that is far behind in the spool but reads on is waited for", async (t) => {
  const run = await stoppedInSpool(t);
  const { cache, fill, stopped: slow, position, fast } = run;
  for (let step = 1; step <= 3; step++) {
    await eventually("the fill waits for the slow one", () => cache.time.waiting === 1);
    await slow.read(position + step * 100, Buffer.alloc(100));
    cache.time.elapse();
    await quiet();
    t.equal(fill.followers, 2, "it takes little, but not nothing");
  }
  const rest = readBytes(slow, { from: position });
  t.ok((await fast).equals(bytes));
  t.ok((await rest).equals(bytes.subarray(position)));
  await slow.close();
  await notStored(t, run, "append");
});

t.test("nobody can join a relay whose first bytes are gone", async (t) => {
  const run = await relay(t, bytes, noSpool);
  t.equal(run.fill.joinable, true);
  const reader = run.fill.follow();
  await readBytes(reader, { end: mebibyte });
  t.equal(run.fill.joinable, false);
  const late = run.fill.follow();
  await t.rejects(late.read(0, Buffer.alloc(1)), {
    name: "StoreError",
    code: "io",
    message: /no longer held/,
  });
  await late.close();
  t.ok((await readBytes(reader, { from: mebibyte })).equals(bytes.subarray(mebibyte)));
  await reader.close();
  await notStored(t, run, "create");
});
