// One transfer, many followers: what they read, from where, and what happens when they lag or leave.
import { readdirSync } from "node:fs";
import { mock } from "node:test";
import t from "tap";
import { holdBack } from "../../../src/cache/fill/range-plan.ts";
import type { BlobReader } from "../../../src/ports/blobs.ts";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import {
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  readAll,
  readBytes,
  startFill,
} from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import { repo } from "../../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", 3 * mebibyte + 123);

t.test("many followers of one transfer all get every byte, and the blob is stored", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const sizes: number[] = [];
  const started = cache.clock.now;
  const answered = gate();
  cache.upstream.transfers.push({ answerAfter: answered.opened });
  const fill = startFill(cache, digest, { committed: (size) => sizes.push(size) });
  const readers = Array.from({ length: 20 }, () => fill.follow());
  t.equal(fill.followers, 20);
  t.equal(fill.size, undefined, "nobody knows the size yet");
  t.equal(fill.startedAt, started);
  cache.clock.advance(1_234);
  answered.open();
  t.same(await fill.head, { kind: "found", size: bytes.length });
  const bodies = await Promise.all(readers.map(readAll));
  t.ok(bodies.every((body) => body.equals(bytes)));
  await fill.done;
  t.equal(fill.followers, 0);
  t.equal(fill.received, bytes.length);
  t.equal(fill.size, bytes.length);
  t.equal(cache.upstream.count("GET blob"), 1);
  t.equal(cache.upstream.bytesSent, bytes.length);
  t.same(sizes, [bytes.length], "told once that it is stored");
  t.same(cache.notices, [
    { kind: "fill", result: "committed", upstream: "up", digest, bytes: bytes.length, durationMs: 1_234 },
  ]);
  const stored = await cache.store.open(digest);
  t.ok(stored && (await readAll(stored)).equals(bytes));
  t.equal(cache.store.count("abort"), 0, "a spool is committed or aborted, not both");
  await nothingLeft(t, cache);
});

t.test("many followers of a slow transfer are woken in steps, a few for every chunk", async (t) => {
  // Nothing is told for the time that has passed.
  mock.timers.enable({ apis: ["setTimeout"] });
  t.teardown(() => mock.timers.reset());
  const reads = async (followers: number): Promise<number> => {
    const cache = await openCache(t, { name: `${followers} followers` });
    const digest = cache.upstream.addBlob("team/app", bytes);
    cache.upstream.transfers.push({ pace: () => quiet(2) });
    const fill = startFill(cache, digest);
    const readers = Array.from({ length: followers }, () => fill.follow());
    let count = 0;
    const bodies = readers.map(async (reader) => {
      const parts: Buffer[] = [];
      for (let position = 0; ; count++) {
        const chunk = Buffer.from(await reader.read(position, Buffer.alloc(mebibyte)));
        if (chunk.length === 0) break;
        parts.push(chunk);
        position += chunk.length;
      }
      await reader.close();
      return Buffer.concat(parts);
    });
    t.ok((await Promise.all(bodies)).every((body) => body.equals(bytes)));
    await fill.done;
    return count / followers;
  };
  const chunks = bytes.length / (16 * 1024);
  t.ok((await reads(8)) > chunks / 2, "eight followers read nearly every chunk by itself");
  const steps = bytes.length / (256 * 1024);
  const many = await reads(9);
  t.ok(many < 2 * steps, `nine read ${many} times`);
});

t.test("a follower that joins late, and one that joins in the middle, read everything", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const middle = gate();
  cache.upstream.transfers.push({ hold: { at: mebibyte, until: middle.opened } });
  const fill = startFill(cache, digest, { windowBytes: mebibyte });
  await eventually("the transfer is in the middle", () => fill.received === mebibyte);
  const late = fill.follow();
  t.equal(fill.joinable, true);
  t.ok((await readBytes(late, { end: 1000 })).equals(bytes.subarray(0, 1000)));
  middle.open();
  await eventually("every byte is here", () => fill.received === bytes.length);
  const latest = fill.follow();
  await fill.done;
  t.ok((await readBytes(late)).equals(bytes));
  t.ok((await readAll(latest)).equals(bytes), "also once the fill is over");
  await late.close();
  await nothingLeft(t, cache);
});

t.test("bytes that come while nobody reads are told apart", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const [first, second] = [gate(), gate()];
  const gates = new Map([
    [mebibyte, first.opened],
    [2 * mebibyte, second.opened],
  ]);
  cache.upstream.transfers.push({ pace: (at) => gates.get(at) });
  const fill = startFill(cache, digest);
  await eventually("the first MiB is here", () => fill.received === mebibyte);
  const reader = fill.follow();
  await reader.close();
  await reader.close();
  first.open();
  await eventually("the second MiB is here", () => fill.received === 2 * mebibyte);
  const another = fill.follow();
  second.open();
  await fill.done;
  await another.close();
  t.match(cache.notices.at(-1), { kind: "fill", result: "committed", unattendedBytes: mebibyte });
});

t.test("a follower may begin anywhere and waits for its bytes", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const begun = gate();
  cache.upstream.transfers.push({ answerAfter: begun.opened });
  const fill = startFill(cache, digest);
  const reader = fill.follow();
  const from = 2 * mebibyte + 7;
  const range = readBytes(reader, { from, end: from + 100_000 });
  begun.open();
  t.ok((await range).equals(bytes.subarray(from, from + 100_000)));
  t.ok((await readBytes(reader, { end: 10 })).equals(bytes.subarray(0, 10)), "and goes back");
  await fill.done;
  await reader.close();
});

t.test("a follower that keeps up is fed from memory, one that lags reads the spool", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  let position = 0;
  cache.upstream.transfers.push({
    pace: (at) =>
      eventually("the fast one keeps up", () => position >= Math.min(at, bytes.length - holdBack)),
  });
  const fill = startFill(cache, digest, { windowBytes: 512 * 1024 });
  const fast = fill.follow();
  const slow = fill.follow();
  t.ok((await readBytes(slow, { end: 5 })).equals(bytes.subarray(0, 5)));
  for (;;) {
    const chunk = await fast.read(position, Buffer.alloc(64 * 1024));
    if (chunk.length === 0) break;
    t.equal(chunk.compare(bytes, position, position + chunk.length), 0);
    position += chunk.length;
  }
  await fill.done;
  t.equal(cache.store.spoolBytesRead, 0, "nothing was read back for the fast one");
  t.ok((await readBytes(slow)).equals(bytes));
  t.ok(cache.store.spoolBytesRead > bytes.length - mebibyte, "the slow one reads the spool");
  await fast.close();
  await slow.close();
  await nothingLeft(t, cache);
});

t.test("a chunk is no longer than the reader asked for, from memory and from the spool", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const fill = startFill(cache, digest, { windowBytes: 512 * 1024 });
  const reader = fill.follow();
  await fill.done;
  for (const from of [0, bytes.length - 5_000]) {
    const chunk = await reader.read(from, Buffer.alloc(100));
    t.equal(chunk.length, 100);
    t.equal(chunk.compare(bytes, from, from + 100), 0);
  }
  await reader.close();
});

t.test("neither a stopped follower nor the first one's leaving keeps a fill from completing", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const fill = startFill(cache, digest, { windowBytes: 512 * 1024 });
  const first = fill.follow();
  const stopped = fill.follow();
  await first.read(0, Buffer.alloc(10));
  await stopped.read(0, Buffer.alloc(10));
  await first.close();
  t.equal(fill.followers, 1);
  await fill.done;
  t.equal(noticesOf(cache, "fill")[0]?.result, "committed");
  t.ok(await cache.store.open(digest).then((blob) => blob?.close().then(() => true)));
  t.equal(cache.store.count("release"), 0, "the spool stays open for the one that stopped");
  t.ok((await readBytes(stopped)).equals(bytes));
  await stopped.close();
  await nothingLeft(t, cache);
});

t.test("a fill nobody follows completes", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  await startFill(cache, digest).done;
  t.equal(noticesOf(cache, "fill")[0]?.result, "committed");
  await nothingLeft(t, cache);
});

t.test("blobs of 0 bytes, of 1, and around what is held back", async (t) => {
  for (const size of [0, 1, holdBack - 1, holdBack, holdBack + 1])
    await t.test(`${size} bytes`, async (t) => {
      const cache = await openCache(t);
      const blob = bytes.subarray(0, size);
      const digest = cache.upstream.addBlob("team/app", blob);
      for (const noSize of [false, true]) {
        cache.upstream.transfers.push({ noSize });
        const fill = startFill(cache, digest);
        const reader = fill.follow();
        t.same(await fill.head, {
          kind: "found",
          size: noSize && size > holdBack ? undefined : size,
        });
        t.ok((await readAll(reader)).equals(blob), noSize ? "without a size" : "with its size");
        await fill.done;
        t.equal(fill.size, size);
        const stored = await cache.store.open(digest);
        t.ok(stored && (await readAll(stored)).equals(blob));
        await cache.store.delete(digest);
      }
    });
});

t.test("a writer is released once, however often a follower closes, and no descriptor is left", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const before = descriptors();
  const fill = startFill(cache, digest);
  const readers: BlobReader[] = [fill.follow(), fill.follow()];
  await fill.done;
  t.equal(descriptors(), before + 1, "one descriptor serves all followers");
  for (const reader of readers) {
    await reader.close();
    await reader.close();
  }
  await eventually("the spool is released", () => cache.store.count("release") > 0);
  await eventually("its descriptor is closed", () => descriptors() === before);
  t.equal(cache.store.count("release"), 1);
});

t.test("a spool that fails to close is a notice", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  cache.store.faults.set("release", () => {
    throw new Error("close failed");
  });
  await startFill(cache, digest).done;
  await eventually("the notice", () => noticesOf(cache, "store_error").length > 0);
  t.same(noticesOf(cache, "store_error"), [
    { kind: "store_error", op: "release", code: "io", message: "close failed" },
  ]);
});

t.test("joinable while it runs; not once it is over, aborted or refused", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const held = gate();
  cache.upstream.transfers.push({ answerAfter: held.opened });
  const fill = startFill(cache, digest);
  t.equal(fill.joinable, true, "before upstream has answered");
  held.open();
  await fill.done;
  t.equal(fill.joinable, false, "over");

  const never = gate();
  cache.upstream.transfers.push({ hold: { at: mebibyte, until: never.opened } });
  const aborted = startFill(cache, digest);
  aborted.abort(new Error("no more"));
  t.equal(aborted.joinable, false, "aborted");
  never.open();
  await aborted.done;

  cache.upstream.transfers.push({ refuse: "absent" });
  const refused = startFill(cache, digest);
  t.same(await refused.head, { kind: "absent" });
  t.equal(refused.joinable, false, "refused, as soon as that is known");
  await refused.done;
});

t.test("a refusal is the answer of the fill: nothing is spooled, nothing noted", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  for (const refuse of ["absent", "denied"] as const) {
    cache.upstream.transfers.push({ refuse });
    const fill = startFill(cache, digest);
    const reader = fill.follow();
    t.same(await fill.head, { kind: refuse });
    await reader.close();
    await fill.done;
    t.equal(cache.store.spools, 0);
    t.same(cache.notices, []);
    t.equal(fill.received, 0);
  }
});

t.test("aborting ends the transfer, fails the followers and leaves nothing", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const held = gate();
  cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
  let signal: AbortSignal | undefined;
  const fill = startFill(cache, digest, {
    open: (from, given) => {
      signal = given;
      return cache.upstream.openBlob(repo("team/app"), digest, from, given);
    },
  });
  const reader = fill.follow();
  const waiting = t.rejects(reader.read(2 * mebibyte, Buffer.alloc(10)), {
    message: "this node is stopping",
  });
  await eventually("the transfer is in the middle", () => fill.received === mebibyte);
  const reason = new Error("this node is stopping");
  fill.abort(reason);
  await waiting;
  await t.rejects(reader.read(0, Buffer.alloc(10)), reason, "also for bytes that had arrived");
  t.equal(signal?.reason, reason);
  held.open();
  await fill.done;
  t.same(
    cache.notices.map((notice) => notice.kind === "fill" && notice.result),
    ["discarded"],
  );
  await reader.close();
  await quiet();
  t.equal(await cache.store.open(digest), undefined);
  await nothingLeft(t, cache);
});

t.test("aborting before upstream has answered rejects the head with the reason", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  cache.time.instant = () => false;
  cache.upstream.transfers.push({ failWith: new UpstreamError("unreachable", "no route") });
  const fill = startFill(cache, digest);
  await eventually("the fill waits to try again", () => cache.time.waiting === 1);
  const reason = new Error("this node is stopping");
  fill.abort(reason);
  await t.rejects(fill.head, reason);
  await fill.done;
  t.equal(cache.upstream.count("GET blob"), 1, "and does not try again");
  t.same(cache.notices, [], "nothing had been received that could be discarded");
});

t.test("a failed fill whose followers leave during an append leaves no spool file", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const append = gate();
  cache.store.faults.set("append", () => append.opened);
  const cutWith = new UpstreamError("protocol", "no more of it");
  cache.upstream.transfers.push({ cutAt: 2 * mebibyte, cutWith });
  const fill = startFill(cache, digest);
  const [reader, waiting] = [fill.follow(), fill.follow()];
  await t.rejects(waiting.read(bytes.length - 1, Buffer.alloc(10)), { code: "protocol" }, "told at once");
  t.equal(cache.store.count("append"), 1, "one is under way");
  await Promise.all([reader.close(), waiting.close()]);
  append.open();
  await fill.done;
  t.equal(cache.store.count("abort"), 1);
  await nothingLeft(t, cache);
});
