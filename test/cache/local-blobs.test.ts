// What is here: from memory or the store, verified where that is cheap, and never a store's failure as an absence
// without a word.
import { readdirSync } from "node:fs";
import t from "tap";
import { minSharingReaders } from "../../src/cache/fill/shared-chunks.ts";
import { LocalBlobs } from "../../src/cache/local-blobs.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { type BlobReader, StoreError } from "../../src/ports/blobs.ts";
import {
  type House,
  mebibyte,
  nothingLeft,
  noticesOf,
  openHouse,
  overwriteBlob,
  readAll,
  storeBlob,
  truncateBlob,
  usedAt,
} from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { sha256, sha512 } from "../fixtures/memory-upstream.ts";

const kept = 64 * 1024;
const small = randomBytesFor("small", kept);
const large = randomBytesFor("large", kept + 1);
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const manifestDigest = sha256(Buffer.from("a manifest"));

async function openAndRead({ local }: House, digest: Digest) {
  const blob = await local.open(digest);
  return blob && { source: blob.source, size: blob.size, bytes: await readAll(blob.reader) };
}

// ---- blobs ------------------------------------------------------------------------------------------------------

t.test(
  "up to 64 KiB a blob is read once and kept in memory; a larger one is read from the store",
  async (t) => {
    const house = await openHouse(t);
    const { digest, size } = { digest: sha256(small), size: kept };
    await storeBlob(house, small, digest);
    t.same(await openAndRead(house, digest), { source: "disk", size, bytes: small });
    t.equal(house.store.count("open"), 1);
    t.same(await openAndRead(house, digest), { source: "memory", size, bytes: small });
    t.equal(house.store.count("open"), 1);
    const other = sha256(large);
    await storeBlob(house, large, other);
    for (const _ of [1, 2])
      t.same(await openAndRead(house, other), { source: "disk", size: kept + 1, bytes: large });
    t.equal(house.store.count("open"), 3);
    t.equal(house.store.count("close"), 3, "everything is closed");
  },
);

t.test("a blob in memory is sent from there", async (t) => {
  const house = await openHouse(t);
  await storeBlob(house, small, sha256(small));
  const reader = (await house.local.open(sha256(small)))?.reader;
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
  const house = await openHouse(t);
  await storeBlob(house, large, sha256(large));
  const readers: BlobReader[] = [];
  while (readers.length < minSharingReaders) {
    t.equal(await readers[0]?.lend?.(0, large.length), undefined, "a few read for themselves");
    readers.push((await house.local.open(sha256(large)))?.reader as BlobReader);
  }
  const lendAll = () => Promise.all(readers.map((reader) => reader.lend?.(0, large.length)));
  const lending = lendAll();
  await readers[0]?.close();
  for (const lent of await lending) t.equal(lent, undefined, "its read was never made");
  readers[0] = (await house.local.open(sha256(large)))?.reader as BlobReader;
  const reads = house.store.count("read");
  for (const lent of await lendAll()) {
    t.ok(lent?.bytes.equals(large));
    lent?.giveBack(true);
  }
  t.equal(house.store.count("read"), reads + 1);
  for (const reader of readers) await reader.close();
  const later = await house.local.open(sha256(large));
  t.equal(await later?.reader.lend?.(0, large.length), undefined, "nothing is kept without readers");
  await later?.reader.close();
});

t.test("every use is remembered, from memory and from the store", async (t) => {
  const house = await openHouse(t);
  for (const bytes of [small, large]) {
    const digest = sha256(bytes);
    await storeBlob(house, bytes, digest);
    for (const _ of [1, 2]) {
      house.clock.advance(1_000);
      await openAndRead(house, digest);
      t.equal(usedAt(house, digest), house.clock.now);
    }
  }
});

t.test("what is not here is not here, and a row without a file goes", async (t) => {
  const house = await openHouse(t);
  const digest = sha256(large);
  t.equal(await house.local.open(digest), undefined);
  t.equal(house.local.indexed(digest), false);
  house.index.blobs.add(digest, large.length, undefined, 0);
  t.equal(house.local.indexed(digest), true);
  t.equal(await house.local.open(digest), undefined);
  t.equal(house.local.indexed(digest), false);
  t.same(house.notices, []);
});

t.test("a file without a row gets one", async (t) => {
  for (const bytes of [small, large])
    await t.test(`${bytes.length} bytes`, async (t) => {
      const house = await openHouse(t);
      const digest = sha256(bytes);
      await storeBlob(house, bytes, digest);
      house.index.blobs.remove(digest);
      house.clock.advance(5_000);
      t.same((await openAndRead(house, digest))?.bytes, bytes);
      const checkedAt = house.clock.now;
      t.same(house.index.blobs.get(digest), { size: bytes.length, mediaType: undefined, checkedAt });
      t.equal(usedAt(house, digest), house.clock.now);
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
      const house = await openHouse(t);
      const digest = sha256(bytes);
      await storeBlob(house, bytes, digest);
      house.index.blobs.setChildren(manifestDigest, [{ digest, size: bytes.length }]);
      await truncateBlob(house, digest, size);
      t.equal(await house.local.open(digest), undefined);
      t.same(house.notices, [
        { kind: "bit_rot", by: "open", digest, bytes: size, quarantined: true },
        { kind: "eviction", reason: "corrupt", digest, bytes: size, ageMs: 0, orphaned: 1 },
      ]);
      t.equal(house.local.indexed(digest), false);
      t.equal(await house.store.open(digest), undefined);
      t.equal(house.local.beingRead(digest), false);
    });
});

t.test("a small file with wrong bytes is no blob, with and without a row", async (t) => {
  for (const row of [true, false])
    await t.test(row ? "with" : "without", async (t) => {
      const house = await openHouse(t);
      const digest = sha512(small);
      await storeBlob(house, small, digest);
      await overwriteBlob(house, digest, Buffer.alloc(small.length));
      if (!row) house.index.blobs.remove(digest);
      t.equal(await house.local.open(digest), undefined);
      t.match(noticesOf(house, "eviction"), [{ reason: "corrupt", digest }]);
      t.equal(house.local.indexed(digest), false);
      t.equal(await house.local.open(digest), undefined);
      t.equal(house.store.count("quarantine"), 1);
    });
});

t.test("a wrong file that cannot be taken out is not served the next time either", async (t) => {
  const house = await openHouse(t);
  const bytes = randomBytesFor("larger", 3 * kept);
  const digest = sha256(bytes);
  await storeBlob(house, bytes, digest);
  await truncateBlob(house, digest, 2 * kept);
  house.store.faults.set("quarantine", failing());
  for (const _ of [1, 2]) t.equal(await house.local.open(digest), undefined);
  t.equal(house.local.indexed(digest), false);
  t.match(noticesOf(house, "store_error"), [{ op: "open" }]);
  house.store.faults.clear();
  await storeBlob(house, bytes, digest);
  house.local.committed(digest, bytes.length, undefined);
  t.same((await openAndRead(house, digest))?.bytes, bytes, "until it is stored anew");
});

t.test("a reader's own memory is copied, and a reader that ends early is no blob", async (t) => {
  const house = await openHouse(t);
  const digest = sha256(small);
  await storeBlob(house, small, digest);
  const { open } = house.store;
  house.store.open = async (asked) => {
    const blob = await open.call(house.store, asked);
    return blob && { ...blob, read: async (at: number) => small.subarray(at, at + 1_000) };
  };
  t.same((await openAndRead(house, digest))?.bytes, small);
  house.local.forget(digest);
  house.store.open = async (asked) => {
    const blob = await open.call(house.store, asked);
    return blob && { ...blob, read: async (at: number) => small.subarray(at, Math.min(at + 999, 10_000)) };
  };
  t.equal(await house.local.open(digest), undefined);
  t.match(noticesOf(house, "eviction"), [{ reason: "corrupt" }]);
});

t.test("a blob counts as being read until every reader of it is closed", async (t) => {
  const house = await openHouse(t);
  const digest = sha256(large);
  await storeBlob(house, large, digest);
  const before = readdirSync("/proc/self/fd").length;
  const first = await house.local.open(digest);
  const second = await house.local.open(digest);
  t.equal(house.local.beingRead(digest), true);
  await first?.reader.close();
  await first?.reader.close();
  t.equal(house.local.beingRead(digest), true, "closing twice counts once");
  await second?.reader.close();
  t.equal(house.local.beingRead(digest), false);
  t.equal(house.store.count("close"), 2);
  t.equal(readdirSync("/proc/self/fd").length, before);
});

t.test("forgetting a blob leaves the store its copy", async (t) => {
  const house = await openHouse(t);
  const digest = sha256(small);
  await storeBlob(house, small, digest);
  for (const source of ["disk", "memory"]) t.equal((await openAndRead(house, digest))?.source, source);
  house.local.forget(digest);
  t.equal((await openAndRead(house, digest))?.source, "disk");
});

t.test("memory is bounded by bytes; an entry counts half a KiB more, and its text", async (t) => {
  const house = await openHouse(t, { memoryBytes: 10_000 });
  const blobs = Array.from({ length: 20 }, (_, at) => Buffer.from(`blob ${at}`.padEnd(100)));
  for (const bytes of blobs) {
    await storeBlob(house, bytes, sha256(bytes));
    await openAndRead(house, sha256(bytes));
  }
  const sources = [];
  for (const bytes of blobs.toReversed()) sources.push((await openAndRead(house, sha256(bytes)))?.source);
  t.equal(sources.filter((source) => source === "memory").length, Math.floor(10_000 / 712));
  const house2 = sha256(small);
  await storeBlob(house, small, house2);
  await openAndRead(house, house2);
  t.equal((await openAndRead(house, house2))?.source, "disk", "what is larger than all of it is not kept");
});

t.test("a store that fails is reported, nothing is removed, and nothing stays open", async (t) => {
  for (const name of ["open", "read", "close"] as const)
    await t.test(name, async (t) => {
      const house = await openHouse(t);
      const digest = sha256(small);
      await storeBlob(house, small, digest);
      house.store.faults.set(name, failing("unavailable"));
      t.equal(await house.local.open(digest), undefined);
      t.match(house.notices, [{ kind: "store_error", op: "open", code: "unavailable" }]);
      t.equal(house.local.indexed(digest), true);
      t.equal(house.local.beingRead(digest), false);
      t.equal(house.store.count("close"), name === "open" ? 0 : 1);
      house.store.faults.clear();
      t.same((await openAndRead(house, digest))?.bytes, small);
    });
});

t.test("an index that fails is reported, and nothing stays open", async (t) => {
  const house = await openHouse(t);
  const digest = sha256(large);
  await storeBlob(house, large, digest);
  house.faults.blobs.set("get", new StoreError("io", "broken"));
  t.equal(await house.local.open(digest), undefined);
  t.equal(house.local.indexed(digest), false);
  house.faults.blobs.clear();
  house.index.blobs.remove(digest);
  house.faults.blobs.set("add", new StoreError("no_space", "full"));
  t.equal(await house.local.open(digest), undefined);
  t.equal(house.local.beingRead(digest), false);
  t.equal(house.store.count("close"), house.store.count("open"));
  t.same(
    noticesOf(house, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["open io", "index.get io", "open no_space"],
  );
});

// ---- spools -----------------------------------------------------------------------------------------------------

interface Room {
  readonly local: LocalBlobs;
  /** What was asked for, in order. */
  readonly asked: (number | "grown")[];
}

function withRoom(house: House, makeRoom: () => void): Room {
  const asked: Room["asked"] = [];
  const { store, index, clock, notices } = house;
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
    pause: house.time.pause,
  });
  return { local, asked };
}

t.test("a spool for what fits the cache, and none for what is larger", async (t) => {
  const house = await openHouse(t);
  const { local, asked } = withRoom(house, () => {});
  for (const size of [1_000, 0, undefined]) {
    const writer = await local.spool(size);
    await writer?.abort();
    await writer?.release();
    t.ok(writer);
  }
  t.same(asked, ["grown", "grown", "grown"], "the budget is checked each time");
  t.equal(await local.spool(1_001), undefined);
  t.equal(asked.length, 3);
  await nothingLeft(t, house);
});

t.test("without room one eviction makes some; then it is the store's word", async (t) => {
  const house = await openHouse(t);
  const { local, asked } = withRoom(house, () => house.store.faults.clear());
  for (const size of [500, undefined]) {
    house.store.faults.set("create", failing("no_space"));
    const writer = await local.spool(size);
    await writer?.abort();
    await writer?.release();
  }
  t.same(asked, ["grown", 500, "grown", 0]);
  const still = withRoom(house, () => {});
  house.store.faults.set("create", failing("no_space"));
  await t.rejects(still.local.spool(500), { code: "no_space" });
  t.same(still.asked, ["grown", 500]);
  await nothingLeft(t, house);
});

t.test("any other failure of the store is not about room", async (t) => {
  const house = await openHouse(t);
  const { local, asked } = withRoom(house, () => {});
  house.store.faults.set("create", failing("unavailable"));
  await t.rejects(local.spool(1), { name: "StoreError", code: "unavailable" });
  house.store.faults.set("create", () => {
    throw Object.assign(new Error("not the store's"), { code: "no_space" });
  });
  await t.rejects(local.spool(1), { message: "not the store's" });
  t.same(asked, ["grown", "grown"]);
});

t.test(
  "a commit is entered into the index and `grown` called; an index that fails is reported",
  async (t) => {
    const house = await openHouse(t);
    const { local, asked } = withRoom(house, () => {});
    const digest = sha256(small);
    local.committed(digest, kept, mediaType);
    t.same(house.index.blobs.get(digest), { size: kept, mediaType, checkedAt: house.clock.now });
    t.equal(usedAt(house, digest), house.clock.now);
    t.same(asked, ["grown"]);
    house.index.close();
    local.committed(digest, kept, mediaType);
    t.match(house.notices, [{ kind: "store_error", op: "index.add", code: "closed" }]);
    t.same(asked, ["grown", "grown"]);
  },
);
