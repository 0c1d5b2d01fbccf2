// What is here: from memory or the store, verified where that is cheap, and never a store's failure as an absence
// without a word.
import { readdirSync } from "node:fs";
import t from "tap";
import { LocalBlobs, largestManifest } from "../../src/cache/local-blobs.ts";
import { StoreError } from "../../src/cache/ports.ts";
import type { Digest } from "../../src/oci/digest.ts";
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
} from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { sha256, sha512 } from "../fixtures/memory-upstream.ts";

const kept = 64 * 1024;
const small = randomBytesFor("small", kept);
const large = randomBytesFor("large", kept + 1);
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const manifest = { body: Buffer.from('{"schemaVersion":2}'), mediaType };
const manifestDigest = sha256(manifest.body);

async function openAndRead({ local }: House, digest: Digest) {
  const blob = await local.open(digest);
  return blob && { source: blob.source, size: blob.size, bytes: await readAll(blob.reader) };
}

/** The same stores with an empty memory: what a restart leaves. */
function restarted(house: House): House {
  const { store, index, clock, notices } = house;
  const local = new LocalBlobs({
    store,
    index: index.blobs,
    largest: 1e12,
    makeRoom: async () => {},
    grown: () => {},
    memoryBytes: mebibyte,
    notices: (notice) => notices.push(notice),
    clock: clock.read,
  });
  return { ...house, local };
}

function usedAt({ index }: House, digest: Digest): number | undefined {
  return index.blobs.oldest(100).find((blob) => blob.digest === digest)?.usedAt;
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
      t.same(house.index.blobs.get(digest), { size: bytes.length, mediaType: undefined });
      t.equal(usedAt(house, digest), house.clock.now);
    });
});

t.test("a file of the wrong size is no blob: it is removed and told", async (t) => {
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
      house.index.blobs.setChildren(manifestDigest, [digest]);
      await truncateBlob(house, digest, size);
      t.equal(await house.local.open(digest), undefined);
      t.same(house.notices, [
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
      t.equal(house.store.count("delete"), 1);
    });
});

t.test("a wrong file that cannot be deleted is not served the next time either", async (t) => {
  const house = await openHouse(t);
  const bytes = randomBytesFor("larger", 3 * kept);
  const digest = sha256(bytes);
  await storeBlob(house, bytes, digest);
  await truncateBlob(house, digest, 2 * kept);
  house.store.faults.set("delete", failing());
  for (const _ of [1, 2]) t.equal(await house.local.open(digest), undefined);
  t.match(noticesOf(house, "store_error"), [{ op: "open" }, { op: "open" }]);
  house.store.faults.clear();
  t.equal(await house.local.open(digest), undefined);
  t.equal(await house.store.open(digest), undefined, "removed as soon as that works");
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

t.test("memory is bounded by bytes, each entry counting half a KiB more", async (t) => {
  const house = await openHouse(t, { memoryBytes: 10_000 });
  const blobs = Array.from({ length: 20 }, (_, at) => Buffer.from(`blob ${at}`.padEnd(100)));
  for (const bytes of blobs) {
    await storeBlob(house, bytes, sha256(bytes));
    await openAndRead(house, sha256(bytes));
  }
  const sources = [];
  for (const bytes of blobs.toReversed()) sources.push((await openAndRead(house, sha256(bytes)))?.source);
  t.equal(sources.filter((source) => source === "memory").length, Math.floor(10_000 / 612));
  const house2 = sha256(small);
  await storeBlob(house, small, house2);
  await openAndRead(house, house2);
  t.equal((await openAndRead(house, house2))?.source, "disk", "what is larger than all of it is not kept");
});

t.test("a store that fails is told, nothing is removed, and nothing stays open", async (t) => {
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

t.test("an index that fails is told, and nothing stays open", async (t) => {
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

// ---- manifests --------------------------------------------------------------------------------------------------

t.test("a manifest is kept in memory and in the store, with its type and its children", async (t) => {
  const house = await openHouse(t);
  const child = sha256(small);
  await house.local.putManifest(manifestDigest, manifest, [child]);
  t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "memory" });
  t.equal(house.store.count("open"), 0);
  t.equal(house.index.blobs.manifestsNaming(child), 1);
  const again = restarted(house);
  t.same(await again.local.manifest(manifestDigest), { ...manifest, source: "disk" });
  t.same(await again.local.manifest(manifestDigest), { ...manifest, source: "memory" });
  t.equal(house.store.count("open"), 1);
  t.equal(house.store.count("close"), 1);
  t.same((await openAndRead(again, manifestDigest))?.bytes, manifest.body, "it is a blob like any other");
  await nothingLeft(t, house);
});

t.test("every use of a manifest is remembered", async (t) => {
  const house = await openHouse(t);
  await house.local.putManifest(manifestDigest, manifest, []);
  t.equal(usedAt(house, manifestDigest), house.clock.now);
  const again = restarted(house);
  for (const _ of ["disk", "memory"]) {
    house.clock.advance(1_000);
    await again.local.manifest(manifestDigest);
    t.equal(usedAt(house, manifestDigest), house.clock.now);
  }
});

t.test("a blob nobody has said to be a manifest is none, in memory and in the store", async (t) => {
  const house = await openHouse(t);
  await storeBlob(house, manifest.body, manifestDigest);
  t.equal(await house.local.manifest(manifestDigest), undefined);
  await openAndRead(house, manifestDigest);
  t.equal(await house.local.manifest(manifestDigest), undefined, "also once it is in memory");
  await house.local.putManifest(manifestDigest, manifest, []);
  t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "memory" });
});

t.test("a manifest opened as a blob first is still a manifest", async (t) => {
  const house = await openHouse(t);
  await storeBlob(house, manifest.body, manifestDigest, mediaType);
  await openAndRead(house, manifestDigest);
  t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "memory" });
});

t.test("no manifest is here, or its row has outlived its file", async (t) => {
  const house = await openHouse(t);
  t.equal(await house.local.manifest(manifestDigest), undefined);
  house.index.blobs.add(manifestDigest, manifest.body.length, mediaType, 0);
  t.equal(await house.local.manifest(manifestDigest), undefined);
  t.equal(house.local.indexed(manifestDigest), false);
  t.same(house.notices, []);
});

t.test("a stored manifest that is wrong is removed and told, whatever its size", async (t) => {
  for (const [name, wrong] of [
    ["other bytes", Buffer.alloc(manifest.body.length, "{")],
    ["truncated", manifest.body.subarray(1)],
    ["grown", Buffer.concat([manifest.body, manifest.body])],
    ["grown beyond what is read", Buffer.alloc(largestManifest + 1)],
  ] as const)
    await t.test(name, async (t) => {
      const house = await openHouse(t);
      await storeBlob(house, manifest.body, manifestDigest, mediaType);
      await overwriteBlob(house, manifestDigest, wrong);
      t.equal(await house.local.manifest(manifestDigest), undefined);
      t.match(house.notices, [
        { kind: "eviction", reason: "corrupt", digest: manifestDigest, bytes: wrong.length },
      ]);
      t.equal(house.local.indexed(manifestDigest), false);
      t.equal(await house.store.open(manifestDigest), undefined);
      t.equal(house.store.count("close"), 1);
    });
});

t.test("a manifest of 4 MiB is held; what the index says to be larger is not even opened", async (t) => {
  const house = await openHouse(t);
  const body = Buffer.alloc(largestManifest, " ");
  await house.local.putManifest(sha256(body), { body, mediaType }, []);
  t.equal((await restarted(house).local.manifest(sha256(body)))?.body.length, largestManifest);
  const larger = Buffer.alloc(largestManifest + 1, " ");
  await storeBlob(house, larger, sha256(larger), mediaType);
  const opens = house.store.count("open");
  t.equal(await house.local.manifest(sha256(larger)), undefined);
  t.equal(house.store.count("open"), opens);
  t.same(house.notices, []);
});

t.test("a store that fails while a manifest is read is told, and nothing stays open", async (t) => {
  const house = await openHouse(t);
  await storeBlob(house, manifest.body, manifestDigest, mediaType);
  for (const name of ["open", "read"] as const) {
    house.store.faults.clear();
    house.store.faults.set(name, failing());
    t.equal(await house.local.manifest(manifestDigest), undefined);
  }
  t.equal(house.store.count("close"), 1);
  house.store.faults.clear();
  house.faults.blobs.set("get", new StoreError("closed", "closed"));
  t.equal(await house.local.manifest(manifestDigest), undefined);
  t.same(
    noticesOf(house, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["manifest io", "manifest io", "manifest closed"],
  );
  house.faults.blobs.clear();
  t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "disk" });
});

t.test("a manifest that cannot be stored is served from memory, and that is told", async (t) => {
  for (const name of ["create", "append", "commit", "release"] as const)
    await t.test(name, async (t) => {
      const house = await openHouse(t);
      house.store.faults.set(name, failing());
      await house.local.putManifest(manifestDigest, manifest, []);
      t.match(house.notices, [{ kind: "store_error", op: "put_manifest", code: "io" }]);
      t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "memory" });
      t.equal(house.index.blobs.get(manifestDigest), undefined);
      t.equal(house.store.count("abort"), name === "append" || name === "commit" ? 1 : 0);
      await nothingLeft(t, house);
    });
});

t.test("a manifest whose row or children cannot be written is served from memory", async (t) => {
  for (const method of ["setChildren", "add"] as const)
    await t.test(method, async (t) => {
      const house = await openHouse(t);
      house.faults.blobs.set(method, new StoreError("no_space", "full"));
      await house.local.putManifest(manifestDigest, manifest, [sha256(small)]);
      t.match(house.notices, [{ op: method === "add" ? "index.add" : "put_manifest", code: "no_space" }]);
      t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "memory" });
    });
});

t.test("a manifest larger than the whole cache is served from memory without a word", async (t) => {
  const house = await openHouse(t, { maxSize: manifest.body.length - 1 });
  await house.local.putManifest(manifestDigest, manifest, []);
  t.same(await house.local.manifest(manifestDigest), { ...manifest, source: "memory" });
  t.equal(house.store.count("create"), 0);
  t.same(house.notices, []);
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
    largest: 1_000,
    makeRoom: async (bytes) => {
      asked.push(bytes);
      makeRoom();
    },
    grown: () => asked.push("grown"),
    memoryBytes: mebibyte,
    notices: (notice) => notices.push(notice),
    clock: clock.read,
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
  t.same(asked, ["grown", "grown", "grown"], "the budget is looked at each time");
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

t.test("a commit is entered into the index and told; an index that fails is a notice", async (t) => {
  const house = await openHouse(t);
  const { local, asked } = withRoom(house, () => {});
  const digest = sha256(small);
  local.committed(digest, kept, mediaType);
  t.same(house.index.blobs.get(digest), { size: kept, mediaType });
  t.equal(usedAt(house, digest), house.clock.now);
  t.same(asked, ["grown"]);
  house.index.close();
  local.committed(digest, kept, mediaType);
  t.match(house.notices, [{ kind: "store_error", op: "index.add", code: "closed" }]);
  t.same(asked, ["grown", "grown"]);
});
