// What is here: from memory or the store, verified where that is cheap, and never a store's failure as an absence
// without a word.
import { readdirSync } from "node:fs";
import t from "tap";
import { minSharingReaders } from "../../src/cache/fill/shared-chunks.ts";
import { LocalBlobs } from "../../src/cache/local-blobs.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { type BlobReader, StoreError } from "../../src/ports/blobs.ts";
import {
  type CacheFixture,
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  overwriteBlob,
  readAll,
  storeBlob,
  truncateBlob,
  usedAt,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { sha256, sha512 } from "../fixtures/memory-upstream.ts";

const kept = 64 * 1024;
const small = randomBytesFor("small", kept);
const large = randomBytesFor("large", kept + 1);
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const manifestDigest = sha256(Buffer.from("a manifest"));

async function openAndRead({ local }: CacheFixture, digest: Digest) {
  const blob = await local.open(digest);
  return blob && { source: blob.source, size: blob.size, bytes: await readAll(blob.reader) };
}

// ---- blobs ------------------------------------------------------------------------------------------------------

t.test(
  "up to 64 KiB a blob is read once and kept in memory; a larger one is read from the store",
  async (t) => {
    const cache = await openCache(t);
    const { digest, size } = { digest: sha256(small), size: kept };
    await storeBlob(cache, small, digest);
    t.same(await openAndRead(cache, digest), { source: "disk", size, bytes: small });
    t.equal(cache.store.count("open"), 1);
    t.same(await openAndRead(cache, digest), { source: "memory", size, bytes: small });
    t.equal(cache.store.count("open"), 1);
    const other = sha256(large);
    await storeBlob(cache, large, other);
    for (const _ of [1, 2])
      t.same(await openAndRead(cache, other), { source: "disk", size: kept + 1, bytes: large });
    t.equal(cache.store.count("open"), 3);
    t.equal(cache.store.count("close"), 3, "everything is closed");
  },
);

t.test("a blob in memory is sent from there", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, small, sha256(small));
  const reader = (await cache.local.open(sha256(small)))?.reader;
  for (const [position, max] of [
    [7, 100],
    [kept - 5, 100],
    [kept, 100],
  ] as const) {
    const lent = await reader?.lend?.(position, max);
    t.ok(lent?.bytes.equals(small.subarray(position, position + max)), `${max} bytes at ${position}`);
    lent?.giveBack(true);
  }
});

t.test("several readers of one stored blob read it once, and a reader may leave meanwhile", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, large, sha256(large));
  const readers: BlobReader[] = [];
  while (readers.length < minSharingReaders) {
    t.equal(await readers[0]?.lend?.(0, large.length), undefined, "a few read for themselves");
    readers.push((await cache.local.open(sha256(large)))?.reader as BlobReader);
  }
  const lendAll = () => Promise.all(readers.map((reader) => reader.lend?.(0, large.length)));
  const lending = lendAll();
  await readers[0]?.close();
  for (const lent of await lending) t.equal(lent, undefined, "its read was never made");
  readers[0] = (await cache.local.open(sha256(large)))?.reader as BlobReader;
  const reads = cache.store.count("read");
  for (const lent of await lendAll()) {
    t.ok(lent?.bytes.equals(large));
    lent?.giveBack(true);
  }
  t.equal(cache.store.count("read"), reads + 1);
  for (const reader of readers) await reader.close();
  const later = await cache.local.open(sha256(large));
  t.equal(await later?.reader.lend?.(0, large.length), undefined, "nothing is kept without readers");
  await later?.reader.close();
});

t.test("every use is remembered, from memory and from the store", async (t) => {
  const cache = await openCache(t);
  for (const bytes of [small, large]) {
    const digest = sha256(bytes);
    await storeBlob(cache, bytes, digest);
    for (const _ of [1, 2]) {
      cache.clock.advance(1_000);
      await openAndRead(cache, digest);
      t.equal(usedAt(cache, digest), cache.clock.now);
    }
  }
});

t.test("what is not here is not here, and a row without a file goes", async (t) => {
  const cache = await openCache(t);
  const digest = sha256(large);
  t.equal(await cache.local.open(digest), undefined);
  t.equal(cache.local.indexed(digest), false);
  cache.index.blobs.add(digest, large.length, undefined, 0);
  t.equal(cache.local.indexed(digest), true);
  t.equal(await cache.local.open(digest), undefined);
  t.equal(cache.local.indexed(digest), false);
  t.same(cache.notices, []);
});

t.test("a file without a row gets one", async (t) => {
  for (const bytes of [small, large])
    await t.test(`${bytes.length} bytes`, async (t) => {
      const cache = await openCache(t);
      const digest = sha256(bytes);
      await storeBlob(cache, bytes, digest);
      cache.index.blobs.remove(digest);
      cache.clock.advance(5_000);
      t.same((await openAndRead(cache, digest))?.bytes, bytes);
      const checkedAt = cache.clock.now;
      t.same(cache.index.blobs.get(digest), { size: bytes.length, mediaType: undefined, checkedAt });
      t.equal(usedAt(cache, digest), cache.clock.now);
    });
});

t.test("a file of the wrong size is no blob: it is removed, with a notice", async (t) => {
  for (const [bytes, size] of [
    [large, kept],
    [large, kept + 2],
    [small, kept - 1],
    [small, kept + 1],
    [small, 0],
  ] as const)
    await t.test(`${size} instead of ${bytes.length}`, async (t) => {
      const cache = await openCache(t);
      const digest = sha256(bytes);
      await storeBlob(cache, bytes, digest);
      cache.index.blobs.setChildren(manifestDigest, [{ digest, size: bytes.length }]);
      await truncateBlob(cache, digest, size);
      t.equal(await cache.local.open(digest), undefined);
      t.same(cache.notices, [
        { kind: "bit_rot", by: "open", digest, bytes: size, quarantined: true },
        { kind: "eviction", reason: "corrupt", digest, bytes: size, ageMs: 0, orphaned: 1 },
      ]);
      t.equal(cache.local.indexed(digest), false);
      t.equal(await cache.store.open(digest), undefined);
      t.equal(cache.local.beingRead(digest), false);
    });
});

t.test("a small file with wrong bytes is no blob, with and without a row", async (t) => {
  for (const row of [true, false])
    await t.test(row ? "with" : "without", async (t) => {
      const cache = await openCache(t);
      const digest = sha512(small);
      await storeBlob(cache, small, digest);
      await overwriteBlob(cache, digest, Buffer.alloc(small.length));
      if (!row) cache.index.blobs.remove(digest);
      t.equal(await cache.local.open(digest), undefined);
      t.match(noticesOf(cache, "eviction"), [{ reason: "corrupt", digest }]);
      t.equal(cache.local.indexed(digest), false);
      t.equal(await cache.local.open(digest), undefined);
      t.equal(cache.store.count("quarantine"), 1);
    });
});

t.test("a wrong file that cannot be taken out is not served the next time either", async (t) => {
  const cache = await openCache(t);
  const bytes = randomBytesFor("larger", 3 * kept);
  const digest = sha256(bytes);
  await storeBlob(cache, bytes, digest);
  await truncateBlob(cache, digest, 2 * kept);
  cache.store.faults.set("quarantine", failing());
  for (const _ of [1, 2]) t.equal(await cache.local.open(digest), undefined);
  t.equal(cache.local.indexed(digest), false);
  t.match(noticesOf(cache, "store_error"), [{ op: "open" }]);
  cache.store.faults.clear();
  await storeBlob(cache, bytes, digest);
  cache.local.committed(digest, bytes.length, undefined);
  t.same((await openAndRead(cache, digest))?.bytes, bytes, "until it is stored anew");
});

t.test("a reader's own memory is copied, and a reader that ends early is no blob", async (t) => {
  const cache = await openCache(t);
  const digest = sha256(small);
  await storeBlob(cache, small, digest);
  const { open } = cache.store;
  cache.store.open = async (asked) => {
    const blob = await open.call(cache.store, asked);
    return blob && { ...blob, read: async (at: number) => small.subarray(at, at + 1_000) };
  };
  t.same((await openAndRead(cache, digest))?.bytes, small);
  cache.local.forget(digest);
  cache.store.open = async (asked) => {
    const blob = await open.call(cache.store, asked);
    return blob && { ...blob, read: async (at: number) => small.subarray(at, Math.min(at + 999, 10_000)) };
  };
  t.equal(await cache.local.open(digest), undefined);
  t.match(noticesOf(cache, "eviction"), [{ reason: "corrupt" }]);
});

t.test("a blob counts as being read until every reader of it is closed", async (t) => {
  const cache = await openCache(t);
  const digest = sha256(large);
  await storeBlob(cache, large, digest);
  const before = readdirSync("/proc/self/fd").length;
  const first = await cache.local.open(digest);
  const second = await cache.local.open(digest);
  t.equal(cache.local.beingRead(digest), true);
  await first?.reader.close();
  await first?.reader.close();
  t.equal(cache.local.beingRead(digest), true, "closing twice counts once");
  await second?.reader.close();
  t.equal(cache.local.beingRead(digest), false);
  t.equal(cache.store.count("close"), 2);
  t.equal(readdirSync("/proc/self/fd").length, before);
});

t.test("forgetting a blob leaves the store its copy", async (t) => {
  const cache = await openCache(t);
  const digest = sha256(small);
  await storeBlob(cache, small, digest);
  for (const source of ["disk", "memory"]) t.equal((await openAndRead(cache, digest))?.source, source);
  cache.local.forget(digest);
  t.equal((await openAndRead(cache, digest))?.source, "disk");
});

t.test("memory is bounded by bytes; an entry counts half a KiB more, and its text", async (t) => {
  const cache = await openCache(t, { memoryBytes: 10_000 });
  const blobs = Array.from({ length: 20 }, (_, at) => Buffer.from(`blob ${at}`.padEnd(100)));
  for (const bytes of blobs) {
    await storeBlob(cache, bytes, sha256(bytes));
    await openAndRead(cache, sha256(bytes));
  }
  const sources = [];
  for (const bytes of blobs.toReversed()) sources.push((await openAndRead(cache, sha256(bytes)))?.source);
  t.equal(sources.filter((source) => source === "memory").length, Math.floor(10_000 / 712));
  const smallDigest = sha256(small);
  await storeBlob(cache, small, smallDigest);
  await openAndRead(cache, smallDigest);
  t.equal(
    (await openAndRead(cache, smallDigest))?.source,
    "disk",
    "what is larger than all of it is not kept",
  );
});

t.test("a store that fails is reported, nothing is removed, and nothing stays open", async (t) => {
  for (const name of ["open", "read", "close"] as const)
    await t.test(name, async (t) => {
      const cache = await openCache(t);
      const digest = sha256(small);
      await storeBlob(cache, small, digest);
      cache.store.faults.set(name, failing("unavailable"));
      t.equal(await cache.local.open(digest), undefined);
      t.match(cache.notices, [{ kind: "store_error", op: "open", code: "unavailable" }]);
      t.equal(cache.local.indexed(digest), true);
      t.equal(cache.local.beingRead(digest), false);
      t.equal(cache.store.count("close"), name === "open" ? 0 : 1);
      cache.store.faults.clear();
      t.same((await openAndRead(cache, digest))?.bytes, small);
    });
});

t.test("an index that fails is reported, and nothing stays open", async (t) => {
  const cache = await openCache(t);
  const digest = sha256(large);
  await storeBlob(cache, large, digest);
  cache.faults.blobs.set("get", new StoreError("io", "broken"));
  t.equal(await cache.local.open(digest), undefined);
  t.equal(cache.local.indexed(digest), false);
  cache.faults.blobs.clear();
  cache.index.blobs.remove(digest);
  cache.faults.blobs.set("add", new StoreError("no_space", "full"));
  t.equal(await cache.local.open(digest), undefined);
  t.equal(cache.local.beingRead(digest), false);
  t.equal(cache.store.count("close"), cache.store.count("open"));
  t.same(
    noticesOf(cache, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["open io", "index.get io", "open no_space"],
  );
});

// ---- spools -----------------------------------------------------------------------------------------------------

interface Room {
  readonly local: LocalBlobs;
  /** What was asked for, in order. */
  readonly asked: (number | "grown")[];
}

function withRoom(cache: CacheFixture, makeRoom: () => void): Room {
  const asked: Room["asked"] = [];
  const { store, index, clock, notices } = cache;
  const local = new LocalBlobs({
    store,
    index: index.blobs,
    makeRoomFor: async (size) => size === undefined || size <= 1_000,
    mayGrow: async () => true,
    makeRoom: async (bytes) => {
      asked.push(bytes);
      makeRoom();
    },
    grown: () => asked.push("grown"),
    memoryBytes: mebibyte,
    notices: (notice) => notices.push(notice),
    clock: clock.read,
    pause: cache.time.pause,
  });
  return { local, asked };
}

t.test("a spool for what fits the cache, and none for what is larger", async (t) => {
  const cache = await openCache(t);
  const { local, asked } = withRoom(cache, () => {});
  for (const size of [1_000, 0, undefined]) {
    const writer = await local.spool(size);
    await writer?.abort();
    await writer?.release();
    t.ok(writer);
  }
  t.same(asked, ["grown", "grown", "grown"], "the budget is checked each time");
  t.equal(await local.spool(1_001), undefined);
  t.equal(asked.length, 3);
  await nothingLeft(t, cache);
});

t.test("without room one eviction makes some; then it is the store's word", async (t) => {
  const cache = await openCache(t);
  const { local, asked } = withRoom(cache, () => cache.store.faults.clear());
  for (const size of [500, undefined]) {
    cache.store.faults.set("create", failing("no_space"));
    const writer = await local.spool(size);
    await writer?.abort();
    await writer?.release();
  }
  t.same(asked, ["grown", 500, "grown", 0]);
  const still = withRoom(cache, () => {});
  cache.store.faults.set("create", failing("no_space"));
  await t.rejects(still.local.spool(500), { code: "no_space" });
  t.same(still.asked, ["grown", 500]);
  await nothingLeft(t, cache);
});

t.test("any other failure of the store is not about room", async (t) => {
  const cache = await openCache(t);
  const { local, asked } = withRoom(cache, () => {});
  cache.store.faults.set("create", failing("unavailable"));
  await t.rejects(local.spool(1), { name: "StoreError", code: "unavailable" });
  cache.store.faults.set("create", () => {
    throw Object.assign(new Error("not the store's"), { code: "no_space" });
  });
  await t.rejects(local.spool(1), { message: "not the store's" });
  t.same(asked, ["grown", "grown"]);
});

t.test(
  "a commit is entered into the index and `grown` called; an index that fails is reported",
  async (t) => {
    const cache = await openCache(t);
    const { local, asked } = withRoom(cache, () => {});
    const digest = sha256(small);
    local.committed(digest, kept, mediaType);
    t.same(cache.index.blobs.get(digest), { size: kept, mediaType, checkedAt: cache.clock.now });
    t.equal(usedAt(cache, digest), cache.clock.now);
    t.same(asked, ["grown"]);
    cache.index.close();
    local.committed(digest, kept, mediaType);
    t.match(cache.notices, [{ kind: "store_error", op: "index.add", code: "closed" }]);
    t.same(asked, ["grown", "grown"]);
  },
);
