// Stored bytes that have changed: found by hashing, taken out, cut off from their readers, and fetched again.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { findingsInRow } from "../../src/cache/blob-checks.ts";
import { chunkSize, minSharingReaders } from "../../src/cache/fill/shared-chunks.ts";
import type { LocalBlob } from "../../src/cache/local-blobs.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import {
  type CacheFixture,
  mebibyte,
  noticesOf,
  openCache,
  overwriteBlob,
  readAll,
  readBytes,
  storeBlob,
  truncateBlob,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { sha256 } from "../fixtures/memory-upstream.ts";

const held = 64 * 1024;
const layer = randomBytesFor("layer", 3 * mebibyte + 7);
const digest = sha256(layer);
const week = 7 * 86_400_000;

/** As the disk would: one bit, in the middle. */
function rotten(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy[copy.length >> 1] = (copy[copy.length >> 1] as number) ^ 4;
  return copy;
}

/** A blob whose bytes have changed after it was stored. */
async function rottenCache(t: Test, options: Parameters<typeof openCache>[1] = {}): Promise<CacheFixture> {
  const cache = await openCache(t, options);
  await storeBlob(cache, layer, digest);
  await overwriteBlob(cache, digest, rotten(layer));
  return cache;
}

async function quarantined({ directory }: CacheFixture): Promise<readonly string[]> {
  return await readdir(join(directory, "quarantine")).catch(() => []);
}

t.test("a sound blob is sound, which is remembered", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, layer, digest);
  cache.clock.advance(week);
  t.equal(await cache.local.checks.check(digest, "scrub"), "sound");
  t.equal(cache.index.blobs.get(digest)?.checkedAt, cache.clock.now);
  t.match(cache.notices, [{ kind: "blob_check", result: "sound", by: "scrub", bytes: layer.length }]);
  t.equal(await cache.local.checks.check(sha256(Buffer.from("other")), "scrub"), "absent");
  t.equal(cache.store.count("open"), cache.store.count("close") + 1, "one lookup found nothing");
});

t.test(
  "a changed blob leaves the store, is kept aside, and is fetched again when it was wanted",
  async (t) => {
    for (const used of [true, false])
      await t.test(used ? "wanted today" : "not wanted since two days", async (t) => {
        const cache = await rottenCache(t);
        if (!used) cache.clock.advance(2 * 86_400_000);
        t.equal(await cache.local.checks.check(digest, "scrub"), "wrong");
        t.equal(await cache.local.open(digest), undefined);
        t.equal(cache.local.indexed(digest), false);
        t.same(await quarantined(cache), [digest.replace(":", "-")]);
        t.match(noticesOf(cache, "bit_rot"), [{ by: "scrub", digest, quarantined: true }]);
        t.match(noticesOf(cache, "eviction"), [{ reason: "corrupt", digest, bytes: layer.length }]);
        t.same(cache.refetched, used ? [digest] : []);
        t.equal(cache.store.count("open"), cache.store.count("close") + 1);
      });
  },
);

t.test(
  "calls of the same time share one check, and a slow one stops pausing for those that wait",
  async (t) => {
    const cache = await openCache(t);
    await storeBlob(cache, layer, digest);
    cache.time.instant = () => false;
    const { signal } = new AbortController();
    const slow = cache.local.checks.check(digest, "scrub", { bytesPerSecond: () => mebibyte, signal });
    await eventually("it pauses", () => cache.time.waiting === 1);
    t.same(cache.time.asked, [125], "for as long as 128 KiB take at 1 MiB/s");
    const urgent = cache.local.checks.check(digest, "read");
    t.same(await Promise.all([slow, urgent]), ["sound", "sound"]);
    t.equal(cache.store.count("open"), 1);
    t.equal(cache.time.waiting, 0);
  },
);

t.test("what reads wrong once and right the next time has not changed", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, layer, digest);
  const { open } = cache.store;
  let wrong = 1;
  cache.store.open = async (asked) => {
    const blob = await open.call(cache.store, asked);
    if (blob === undefined || wrong-- <= 0) return blob;
    return { ...blob, read: async (at, scratch) => rotten(Buffer.from(await blob.read(at, scratch))) };
  };
  t.equal(await cache.local.checks.check(digest, "scrub"), "sound");
  t.same(noticesOf(cache, "bit_rot"), []);
});

t.test("a place that cannot be read is rot; a store that is away says nothing", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, layer, digest);
  cache.store.faults.set("open", failing("unavailable"));
  t.equal(await cache.local.checks.check(digest, "scrub"), "unknown");
  t.match(cache.notices, [{ kind: "store_error", op: "check", code: "unavailable" }]);
  cache.store.faults.clear();
  cache.store.faults.set("read", failing("io"));
  const blob = await cache.local.open(digest);
  await t.rejects(blob?.reader.read(0, Buffer.alloc(10)) as Promise<Buffer>, { code: "io" });
  await eventually("the client's read has had it checked", () => noticesOf(cache, "bit_rot").length === 1);
  await blob?.reader.close();
  t.equal(await cache.local.open(digest), undefined, "the next client gets it from upstream");
});

// ---- readers ----------------------------------------------------------------------------------------------------

t.test("open readers of what turns out wrong get no more of it, by any way of reading", async (t) => {
  const cache = await rottenCache(t);
  const blobs: LocalBlob[] = [];
  while (blobs.length < minSharingReaders) blobs.push((await cache.local.open(digest)) as LocalBlob);
  const [reading, lending] = blobs.map(({ reader }) => reader) as [LocalBlob["reader"], LocalBlob["reader"]];
  t.equal((await reading.read(0, Buffer.alloc(1000))).length, 1000);
  const lent = await lending.lend?.(chunkSize, 1000);
  lent?.giveBack(true);
  const waiting = gate();
  cache.store.faults.set("read", () => waiting.opened);
  const underWay = reading.read(2 * mebibyte, Buffer.alloc(10));
  cache.store.faults.clear();
  t.equal(await cache.local.checks.check(digest, "scrub"), "wrong");
  waiting.open();
  await t.rejects(underWay, { code: "corrupt" });
  await t.rejects(reading.read(1000, Buffer.alloc(1000)), { name: "StoreError", code: "corrupt" });
  t.throws(() => lending.lend?.(chunkSize, 1000), { code: "corrupt" }, "also what is still in memory");
  await storeBlob(cache, layer, digest);
  cache.local.committed(digest, layer.length, undefined);
  const fresh = await cache.local.open(digest);
  t.ok(layer.equals(await readAll((fresh as LocalBlob).reader)), "a later reader reads the new bytes");
  await t.rejects(reading.read(1000, Buffer.alloc(1000)), { code: "corrupt" }, "and the old ones stay cut");
  for (const { reader } of blobs) await reader.close();
  t.equal(cache.local.beingRead(digest), false);
});

t.test("a body in memory outlives its file, and is stored again", async (t) => {
  const cache = await openCache(t);
  const small = randomBytesFor("small", 1000);
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", digest, size: 5 },
      layers: [],
    }),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  await storeBlob(cache, small, sha256(small));
  await (await cache.local.open(sha256(small)))?.reader.close();
  await cache.local.putManifest(sha256(manifest), manifest, {
    mediaType,
    children: [{ digest, size: 5, role: "layer", platform: undefined }],
  });
  for (const body of [small, manifest]) {
    await overwriteBlob(cache, sha256(body), rotten(body));
    t.equal(await cache.local.checks.check(sha256(body), "scrub"), "wrong");
    t.equal(await cache.local.checks.check(sha256(body), "scrub"), "sound");
    t.equal((await cache.local.open(sha256(body)))?.source, "memory");
  }
  t.equal(cache.index.blobs.get(sha256(manifest))?.mediaType, mediaType);
  t.equal(cache.index.blobs.manifestsNaming(digest), 1);
  t.same(cache.refetched, []);
});

// ---- on the way out ---------------------------------------------------------------------------------------------

/** What a client that reads all of it gets, and why it is not more. */
async function readOut(cache: CacheFixture): Promise<{ bytes: number; code?: string }> {
  const blob = (await cache.local.open(digest)) as LocalBlob;
  let bytes = 0;
  try {
    for (; bytes < blob.size; ) bytes += (await blob.reader.read(bytes, Buffer.alloc(100_000))).length;
    return { bytes };
  } catch (error) {
    return { bytes, ...(error instanceof StoreError ? { code: error.code } : {}) };
  } finally {
    await blob.reader.close();
  }
}

t.test("what was not checked for longer than the interval is checked while it is sent", async (t) => {
  const cache = await rottenCache(t, { recheckAfter: week });
  cache.clock.advance(week + 1);
  t.same(await readOut(cache), { bytes: layer.length - held, code: "corrupt" });
  t.equal(await cache.local.open(digest), undefined);
  t.match(noticesOf(cache, "bit_rot"), [{ by: "read" }]);
});

t.test("a sound one is sent whole, and checked once for all", async (t) => {
  const cache = await openCache(t, { recheckAfter: week });
  await storeBlob(cache, layer, digest);
  cache.clock.advance(week + 1);
  t.same(await Promise.all([readOut(cache), readOut(cache)]), [
    { bytes: layer.length },
    { bytes: layer.length },
  ]);
  t.equal(noticesOf(cache, "blob_check").length, 1);
  await readOut(cache);
  t.equal(noticesOf(cache, "blob_check").length, 1, "and not again within the interval");
});

t.test(
  "what was checked lately is not hashed, nor is a part of what was not, nor anything without an interval",
  async (t) => {
    const cache = await openCache(t, { recheckAfter: week });
    await storeBlob(cache, layer, digest);
    await readOut(cache);
    cache.clock.advance(week + 1);
    for (const use of ["part", "probe"] as const) await (await cache.local.open(digest, use))?.reader.close();
    t.same(noticesOf(cache, "blob_check"), []);
    const never = await openCache(t, { name: "never" });
    await storeBlob(never, layer, digest);
    never.clock.advance(100 * week);
    await readOut(never);
    t.same(noticesOf(never, "blob_check"), []);
  },
);

// ---- files never hashed here ------------------------------------------------------------------------------------

t.test("a file without a check is hashed before it is answered for: whole, part and probe", async (t) => {
  for (const use of ["whole", "part", "probe"] as const)
    for (const row of [true, false])
      await t.test(`${use}, ${row ? "with" : "without"} a row`, async (t) => {
        const cache = await openCache(t);
        await storeBlob(cache, layer, digest);
        cache.index.blobs.remove(digest);
        await truncateBlob(cache, digest, layer.length - 1);
        if (row) cache.index.blobs.add(digest, layer.length - 1, undefined, 0);
        t.equal(await cache.local.open(digest, use), undefined);
        t.match(noticesOf(cache, "bit_rot"), [{ digest }]);
        await storeBlob(cache, layer, digest);
        cache.index.blobs.remove(digest);
        const blob = (await cache.local.open(digest, use)) as LocalBlob;
        t.ok(layer.equals(await readAll(blob.reader)), "a right one is served");
        t.equal(cache.index.blobs.get(digest)?.checkedAt, cache.clock.now);
      });
});

// ---- alarm ------------------------------------------------------------------------------------------------------

async function storeMany(cache: CacheFixture, count: number): Promise<readonly Digest[]> {
  const digests: Digest[] = [];
  for (let at = 0; at < count; at++) {
    const bytes = randomBytesFor(`blob ${at}`, held + 100 + at);
    await storeBlob(cache, bytes, sha256(bytes));
    digests.push(sha256(bytes));
  }
  return digests;
}

t.test(
  "many wrong in a row are the disk's fault: nothing more is taken out, nothing wrong is served",
  async (t) => {
    const cache = await openCache(t);
    const digests = await storeMany(cache, findingsInRow + 4);
    for (const each of digests) await overwriteBlob(cache, each, Buffer.alloc(held + 100));
    for (const each of digests) t.equal(await cache.local.checks.check(each, "scrub"), "wrong");
    t.equal(cache.local.checks.alarm, true);
    t.equal((await quarantined(cache)).length, findingsInRow - 1);
    t.same(noticesOf(cache, "bit_rot_alarm"), [{ kind: "bit_rot_alarm", raised: true }]);
    for (const each of digests) {
      t.equal(await cache.local.open(each), undefined);
      t.equal(cache.local.indexed(each), false, "so that it comes from upstream");
    }
    const kept = digests.at(-1) as Digest;
    t.ok(
      await cache.store.open(kept).then((blob) => blob?.close().then(() => true)),
      "its file is still there",
    );
    const right = randomBytesFor(`blob ${digests.length - 1}`, held + 100 + digests.length - 1);
    await storeBlob(cache, right, kept);
    cache.local.committed(kept, right.length, undefined);
    const blob = (await cache.local.open(kept)) as LocalBlob;
    t.ok(right.equals(await readBytes(blob.reader)), "what was fetched anew is served");
    await blob.reader.close();
    for (let times = 1; times < findingsInRow; times++) await cache.local.checks.check(kept, "scrub");
    t.equal(cache.local.checks.alarm, true);
    await cache.local.checks.check(kept, "scrub");
    t.equal(cache.local.checks.alarm, false, "as many right ones in a row end it");
    t.match(noticesOf(cache, "bit_rot_alarm"), [{ raised: true }, { raised: false }]);
  },
);

t.test("a sound one in between, and it was no row", async (t) => {
  const cache = await openCache(t);
  const digests = await storeMany(cache, 2 * findingsInRow);
  for (const [at, each] of digests.entries())
    if (at !== findingsInRow - 1) await overwriteBlob(cache, each, Buffer.alloc(held + 100));
  for (const each of digests.slice(0, -1)) await cache.local.checks.check(each, "scrub");
  t.equal(cache.local.checks.alarm, false);
  t.equal((await quarantined(cache)).length, 2 * findingsInRow - 2);
});
