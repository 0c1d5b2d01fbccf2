// The scrubber: the longest unchecked first, within a rate, giving way, and not for ever at what cannot be helped.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { findingsInRow } from "../../src/cache/blob-checks.ts";
import { Scrubber, type ScrubberOptions } from "../../src/cache/scrubber.ts";
import type { Digest } from "../../src/oci/digest.ts";
import {
  type CacheFixture,
  noticesOf,
  openCache,
  overwriteBlob,
  storeBlob,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, ManualPause, quiet } from "../fixtures/manual-time.ts";
import { sha256 } from "../fixtures/memory-upstream.ts";

const step = 128 * 1024;
const hour = 3_600_000;

interface Scrubbing {
  readonly scrubber: Scrubber;
  /** Pauses of the scrubber itself; those within a blob are the cache's. */
  readonly rests: ManualPause;
}

function scrub(t: Test, cache: CacheFixture, options: Partial<ScrubberOptions> = {}): Scrubbing {
  const rests = new ManualPause();
  rests.instant = () => false;
  const scrubber = new Scrubber({
    interval: () => hour,
    index: cache.index.blobs,
    checks: cache.local.checks,
    busy: () => false,
    notices: (notice) => cache.notices.push(notice),
    clock: cache.clock.read,
    pause: rests.pause,
    ...options,
  });
  cache.time.instant = () => true;
  t.teardown(() => scrubber.stop());
  scrubber.start();
  return { scrubber, rests };
}

async function store(cache: CacheFixture, name: string, size = 1000): Promise<Digest> {
  const bytes = randomBytesFor(name, size);
  await storeBlob(cache, bytes, sha256(bytes));
  return sha256(bytes);
}

const resting = ({ rests }: Scrubbing) => eventually("it rests", () => rests.waiting === 1);
const checked = (cache: CacheFixture) => noticesOf(cache, "blob_check").map(({ digest }) => digest);

t.test("the longest unchecked first, each when it is due, and a notice when all of it is done", async (t) => {
  const cache = await openCache(t);
  const first = await store(cache, "first");
  cache.clock.advance(hour / 2);
  const second = await store(cache, "second");
  const never = await store(cache, "never");
  cache.index.blobs.remove(never);
  cache.index.blobs.add(never, 1000, undefined, cache.clock.now);
  const scrubbing = scrub(t, cache);
  t.equal(scrubbing.scrubber.oldestCheck, 0, "one that never was");
  await resting(scrubbing);
  t.same(checked(cache), [never]);
  t.same(noticesOf(cache, "scrubbed"), [
    { kind: "scrubbed", blobs: 1, bytes: 1000, wrong: 0, durationMs: 0 },
  ]);
  cache.clock.advance(hour / 2);
  scrubbing.rests.elapse();
  await resting(scrubbing);
  t.same(checked(cache), [never, first]);
  t.equal(scrubbing.scrubber.oldestCheck, cache.clock.now - hour / 2);
  t.same(
    scrubbing.rests.asked,
    [60_000, 60_000],
    "it searches again each minute, for what is found meanwhile",
  );
  cache.clock.advance(hour / 2 - 100);
  scrubbing.rests.elapse();
  await eventually("it rests again", () => scrubbing.rests.asked.length === 3);
  t.equal(scrubbing.rests.asked[2], 100, "or when the next is due");
  cache.clock.advance(100);
  scrubbing.rests.elapse();
  await eventually("it has checked", () => checked(cache).length >= 4);
  t.same(checked(cache).slice(2).sort(), [never, second].sort());
});

t.test("a changed blob is found, small and large, manifest and layer", async (t) => {
  const cache = await openCache(t);
  const digests = [await store(cache, "small", 5), await store(cache, "large", 3 * step)];
  for (const each of digests) await overwriteBlob(cache, each, Buffer.from("other"));
  cache.clock.advance(hour);
  const scrubbing = scrub(t, cache);
  await resting(scrubbing);
  t.same((await readdir(join(cache.directory, "quarantine"))).length, 2);
  t.match(noticesOf(cache, "bit_rot"), [{ by: "scrub" }, { by: "scrub" }]);
  t.match(noticesOf(cache, "scrubbed"), [{ blobs: 2, wrong: 2 }]);
  t.equal(scrubbing.scrubber.oldestCheck, undefined);
});

t.test(
  "the rate: what the interval needs twice over, within bounds, and less while clients need the node",
  async (t) => {
    const ofStep = (bytesPerSecond: number) => (step * 1000) / bytesPerSecond;
    const mebibyte = 1024 * 1024;
    for (const [interval, busy, rate] of [
      [hour, false, 8 * mebibyte],
      [hour, true, mebibyte / 4],
      [10, false, 64 * mebibyte],
      [10, true, (4 * step * 1000) / 10],
      [1, true, 64 * mebibyte],
    ] as const)
      await t.test(`${interval} ms, ${busy ? "busy" : "idle"}`, async (t) => {
        const cache = await openCache(t);
        await store(cache, "large", 4 * step);
        cache.clock.advance(hour);
        await resting(scrub(t, cache, { interval: () => interval, busy: () => busy }));
        t.same(cache.time.asked, Array(4).fill(ofStep(rate)));
      });
  },
);

t.test("a stop ends a check in the middle", async (t) => {
  const cache = await openCache(t);
  await store(cache, "large", 4 * step);
  cache.clock.advance(hour);
  const scrubbing = scrub(t, cache);
  cache.time.instant = () => false;
  await eventually("it is under way", () => cache.time.waiting === 1);
  const stopped = scrubbing.scrubber.stop();
  cache.time.elapse();
  await stopped;
  t.equal(cache.time.asked.length, 1);
  t.same(checked(cache), []);
  t.equal(cache.store.count("close"), cache.store.count("open"));
});

t.test("what cannot be read does not keep it from the others", async (t) => {
  const cache = await openCache(t);
  const bad = await store(cache, "bad");
  cache.clock.advance(1);
  const good = await store(cache, "good");
  cache.clock.advance(hour);
  cache.store.faults.set("open", (operation) => {
    if (operation.digest === bad) failing("unavailable")(operation);
  });
  const scrubbing = scrub(t, cache);
  await resting(scrubbing);
  t.same(checked(cache), [good]);
  cache.store.faults.clear();
  scrubbing.rests.elapse();
  await eventually("it is tried again", () => checked(cache).length === 2);
});

t.test("a time far in the future is none", async (t) => {
  const cache = await openCache(t);
  const digest = await store(cache, "ahead");
  cache.index.blobs.checked(digest, cache.clock.now + 365 * 24 * hour);
  await resting(scrub(t, cache));
  t.same(checked(cache), [digest]);
});

t.test(
  "while the disk is at fault it checks one after the other now and then, until they read right",
  async (t) => {
    const cache = await openCache(t);
    const digests: Digest[] = [];
    for (let at = 0; at < findingsInRow + 2; at++) digests.push(await store(cache, `blob ${at}`));
    cache.clock.advance(hour);
    const { open } = cache.store;
    let broken = true;
    cache.store.open = async (asked) => {
      const blob = await open.call(cache.store, asked);
      if (blob === undefined || !broken) return blob;
      return { ...blob, read: async (_at, scratch) => scratch.fill(0) };
    };
    const scrubbing = scrub(t, cache);
    await resting(scrubbing);
    t.equal(cache.local.checks.alarm, true);
    t.equal((await readdir(join(cache.directory, "quarantine"))).length, findingsInRow - 1);
    for (let checks = 1; checks <= 4; checks++) {
      scrubbing.rests.elapse();
      await eventually("it rests", () => scrubbing.rests.asked.length === checks + 1);
    }
    t.same(scrubbing.rests.asked, Array(5).fill(60_000));
    t.equal((await readdir(join(cache.directory, "quarantine"))).length, findingsInRow - 1);
    broken = false;
    for (let checks = 1; cache.local.checks.alarm && checks < 50; checks++) {
      scrubbing.rests.elapse();
      await eventually("it rests", () => scrubbing.rests.waiting === 1);
    }
    t.equal(cache.local.checks.alarm, false);
  },
);

t.test("an interval of 0 hashes nothing, until it is another", async (t) => {
  const cache = await openCache(t);
  await store(cache, "large", step);
  cache.clock.advance(2 * hour);
  let interval = 0;
  const scrubbing = scrub(t, cache, { interval: () => interval });
  t.equal(scrubbing.rests.waiting, 0, "it does not even wait");
  interval = hour;
  scrubbing.scrubber.start();
  await resting(scrubbing);
  t.equal(checked(cache).length, 1);
  cache.clock.advance(2 * hour);
  interval = 0;
  scrubbing.rests.elapse();
  await quiet();
  t.same([scrubbing.rests.waiting, checked(cache).length], [0, 1], "it has ended");
  interval = hour;
  scrubbing.scrubber.start();
  await resting(scrubbing);
  t.equal(checked(cache).length, 2);
});
