// The budget and the disk's reserve are kept, oldest use first, and nothing in use is touched.
import t, { type Test } from "tap";
import { Eviction } from "../../src/cache/eviction.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import type { BlobKind } from "../../src/ports/records.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import {
  type CacheFixture,
  mebibyte,
  noticesOf,
  openCache,
  readAll,
  storeBlob,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { repo, sha256 } from "../fixtures/memory-upstream.ts";

const size = 100_000;

/** Blobs of 100 kB, stored one second after another, the oldest first. */
async function storeSome(cache: CacheFixture, count: number): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (let at = 0; at < count; at++) {
    const bytes = randomBytesFor(`blob ${at}`, size);
    const digest = sha256(bytes);
    await storeBlob(cache, bytes, digest);
    digests.push(digest);
    cache.clock.advance(1_000);
  }
  return digests;
}

async function isHere({ store }: CacheFixture, digest: Digest): Promise<boolean> {
  const blob = await store.open(digest);
  await blob?.close();
  return blob !== undefined;
}

/** Which of them are gone from the store and the index; throws when the two disagree. */
async function gone(cache: CacheFixture, digests: readonly Digest[]): Promise<number[]> {
  const missing: number[] = [];
  for (const [at, digest] of digests.entries()) {
    const here = await isHere(cache, digest);
    if (here !== (cache.index.blobs.get(digest) !== undefined))
      throw new Error(`${at}: index and store disagree`);
    if (!here) missing.push(at);
  }
  return missing;
}

t.test("at the budget nothing goes; above it, the oldest go, down to the fraction", async (t) => {
  const cache = await openCache(t, { maxSize: 10 * size, evictTo: 0.75 });
  const digests = await storeSome(cache, 10);
  cache.eviction.check();
  await cache.eviction.run();
  t.same(await gone(cache, digests), []);
  t.same(cache.notices, []);
  const last = randomBytesFor("one more", 1);
  await storeBlob(cache, last, sha256(last));
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0, 1, 2]);
  t.same(
    noticesOf(cache, "eviction"),
    [0, 1, 2].map((at) => ({
      kind: "eviction",
      reason: "lru",
      digest: digests[at],
      bytes: size,
      ageMs: (10 - at) * 1_000,
      orphaned: 0,
    })),
  );
  t.equal(cache.index.blobs.totals().bytes, 7 * size + 1);
});

t.test("check starts a pass only above the budget, counting what fills will take", async (t) => {
  const cache = await openCache(t, { maxSize: 10 * size, evictTo: 0.5 });
  const digests = await storeSome(cache, 8);
  const held = gate();
  const bytes = randomBytesFor("filling", 2 * size);
  cache.upstream.transfers.push({ hold: { at: size, until: held.opened } });
  const digest = cache.upstream.addBlob("team/app", bytes);
  const opened = await cache.blobs.open(remoteRepository(cache.upstream, repo("team/app")), digest);
  cache.eviction.check();
  await cache.eviction.run();
  t.same(await gone(cache, digests), [], "8 stored and 2 under way are 10");
  await storeBlob(cache, randomBytesFor("more", 1), sha256(randomBytesFor("more", 1)));
  cache.eviction.check();
  await eventually("a pass", () => cache.store.count("delete") > 0);
  await cache.eviction.run();
  t.same(
    await gone(cache, digests),
    [0, 1, 2, 3, 4, 5],
    "4 stored, 2 under way and one byte are not yet half",
  );
  held.open();
  t.ok(opened.kind === "found" && (await readAll(opened.reader)).equals(bytes));
});

t.test("a clock that went back gives no negative age", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  await storeSome(cache, 1);
  cache.clock.advance(-5_000);
  await cache.eviction.run();
  t.equal(noticesOf(cache, "eviction")[0]?.ageMs, 0);
});

t.test("what was read lately stays", async (t) => {
  const cache = await openCache(t, { maxSize: 3 * size, evictTo: 0.67 });
  const app = repo("team/app");
  const digests = await storeSome(cache, 4);
  for (const digest of digests)
    await cache.access.link(remoteRepository(cache.upstream, app), [{ digest, size }]);
  const opened = await cache.blobs.open(remoteRepository(cache.upstream, app), digests[0] as Digest);
  if (opened.kind === "found") await readAll(opened.reader);
  await cache.eviction.run();
  t.same(await gone(cache, digests), [1, 2]);
});

t.test("what is being read or filled is passed over, and goes with a later pass", async (t) => {
  const cache = await openCache(t, { maxSize: 2 * size, evictTo: 0.5 });
  const app = repo("team/app");
  const digests = await storeSome(cache, 3);
  const first = digests[0] as Digest;
  await cache.access.link(remoteRepository(cache.upstream, app), [{ digest: first, size }]);
  const opened = await cache.blobs.open(remoteRepository(cache.upstream, app), first);
  if (opened.kind !== "found") throw new Error("not found");
  // Opening was a use; the others are used later still.
  cache.clock.advance(1_000);
  for (const digest of digests.slice(1)) cache.index.blobs.touch(digest, cache.clock.now);
  await cache.eviction.run();
  t.same(await gone(cache, digests), [1, 2]);
  t.ok((await readAll(opened.reader)).equals(randomBytesFor("blob 0", size)));
  cache.disk.free = 0;
  cache.disk.total = 1;
  await cache.eviction.run(size);
  t.same(await gone(cache, digests), [0, 1, 2]);
});

t.test("what is held for a pinned image never goes, not even when nothing else is left", async (t) => {
  const cache = await openCache(t, { maxSize: 10 * size, evictTo: 0.1 });
  const digests = await storeSome(cache, 10);
  const { pins } = cache.index;
  const image = { upstream: "hub", repository: repo("team/app"), reference: "1.0" };
  pins.hold(
    image,
    digests.slice(0, 4).map((digest) => ({ digest, size })),
  );
  await cache.eviction.run();
  t.same(await gone(cache, digests), []);
  await cache.eviction.run(100 * size);
  t.same(await gone(cache, digests), [4, 5, 6, 7, 8, 9]);
  pins.release(image);
  await cache.eviction.run(2 * size);
  t.same((await gone(cache, digests)).slice(0, 2), [0, 1]);
});

t.test("when most is pinned, of the rest as much is left as without pins", async (t) => {
  const image = { upstream: "hub", repository: repo("team/app"), reference: "1.0" };
  const evictedWith = async (maxSize: number, pinned: number): Promise<number[]> => {
    const cache = await openCache(t, { name: `${pinned} pinned`, maxSize: maxSize * size, evictTo: 0.5 });
    const digests = await storeSome(cache, 10);
    const last = randomBytesFor("one more", 1);
    await storeBlob(cache, last, sha256(last));
    const parts = digests.slice(0, pinned).map((digest) => ({ digest, size }));
    cache.index.pins.hold(image, parts);
    await cache.eviction.run();
    return await gone(cache, digests);
  };
  t.same(await evictedWith(10, 6), [6, 7, 8], "of the room of four, half");
  t.same(await evictedWith(6, 7), [7, 8, 9], "what is pinned alone is more than there may be");
});

t.test("what is pinned between being chosen and being deleted stays", async (t) => {
  const cache = await openCache(t, { maxSize: 10 * size });
  const digests = await storeSome(cache, 3);
  const { index, store, clock } = cache;
  const eviction = new Eviction({
    store,
    index: index.blobs,
    pins: { isHeld: (digest) => digest === digests[0] },
    limits: () => ({ maxSize: 2.5 * size, smallBlob: 1, evictTo: 0.9, keepFree: 0 }),
    freeSpace: async () => ({ free: 1e12, total: 1e12 }),
    fillingBytes: () => 0,
    inUse: () => false,
    evicting: () => {},
    notices: () => {},
    clock: clock.read,
  });
  await eviction.run();
  t.same(await gone(cache, digests), [1]);
});

t.test("nothing is evicted for a blob that would fit only without what is pinned", async (t) => {
  const cache = await openCache(t, { maxSize: 10 * size });
  const digests = await storeSome(cache, 8);
  const image = { upstream: "hub", repository: repo("team/app"), reference: "1.0" };
  cache.index.pins.hold(
    image,
    digests.slice(0, 5).map((digest) => ({ digest, size })),
  );
  t.equal(await cache.eviction.makeRoomFor(6 * size), false);
  t.equal(await cache.eviction.makeRoomFor(5 * size), true);
  t.same(await gone(cache, digests), []);
});

t.test("a pass ends when everything is in use", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  const app = repo("team/app");
  const digests = await storeSome(cache, 3);
  const readers = [];
  for (const digest of digests) {
    await cache.access.link(remoteRepository(cache.upstream, app), [{ digest, size }]);
    const opened = await cache.blobs.open(remoteRepository(cache.upstream, app), digest);
    if (opened.kind === "found") readers.push(opened.reader);
  }
  await cache.eviction.run();
  t.same(await gone(cache, digests), []);
  for (const reader of readers) await reader.close();
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0, 1, 2]);
});

t.test("more blobs than one read of the index gives, the first hundreds of them in use", async (t) => {
  const cache = await openCache(t);
  const all = Array.from({ length: 350 }, (_, at) => sha256(Buffer.from(`row ${at}`)));
  for (const [at, digest] of all.entries()) cache.index.blobs.add(digest, 10, undefined, at);
  const limits: number[] = [];
  const evicted: Digest[] = [];
  const eviction = new Eviction({
    store: cache.store,
    index: new Proxy(cache.index.blobs, {
      get: (target, name) =>
        name === "leastWorth"
          ? (kind: BlobKind, limit: number) => {
              limits.push(limit);
              return target.leastWorth(kind, limit);
            }
          : Reflect.get(target, name).bind(target),
    }),
    limits: () => ({ maxSize: 3_400, smallBlob: 1, evictTo: 1, keepFree: 0 }),
    freeSpace: async () => cache.disk,
    fillingBytes: () => 0,
    inUse: (digest) => all.indexOf(digest) < 250,
    evicting: (digest) => evicted.push(digest),
    notices: () => {},
    clock: cache.clock.read,
  });
  await eviction.run();
  t.same(evicted, all.slice(250, 260), "exactly what is over the budget");
  t.same(limits, [100, 200, 300]);
});

t.test("the free-space reserve is kept, whatever the budget says", async (t) => {
  const cache = await openCache(t, { keepFree: 0.1 });
  const digests = await storeSome(cache, 5);
  cache.disk.total = 100 * size;
  cache.disk.free = 10 * size;
  await cache.eviction.run();
  t.same(await gone(cache, digests), [], "exactly the reserve is free");
  cache.disk.free = 7.5 * size;
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0, 1, 2]);
  t.same(new Set(noticesOf(cache, "eviction").map(({ reason }) => reason)), new Set(["low_disk"]));
});

t.test("of budget and reserve the greater lack decides and names the reason", async (t) => {
  for (const [free, count, reason] of [
    [9, 3, "lru"],
    [6, 4, "low_disk"],
    [7, 3, "lru"],
  ] as const)
    await t.test(`${free} free`, async (t) => {
      const cache = await openCache(t, { maxSize: 5 * size, evictTo: 0.6, keepFree: 0.1 });
      const digests = await storeSome(cache, 6);
      cache.disk.total = 100 * size;
      cache.disk.free = free * size;
      await cache.eviction.run();
      t.same((await gone(cache, digests)).length, count);
      t.same(new Set(noticesOf(cache, "eviction").map((notice) => notice.reason)), new Set([reason]));
    });
});

t.test("as many bytes as are wanted go, within the budget or not", async (t) => {
  const cache = await openCache(t);
  const digests = await storeSome(cache, 5);
  await cache.eviction.run(1);
  t.same(await gone(cache, digests), [0]);
  t.equal(noticesOf(cache, "eviction")[0]?.reason, "low_disk");
  await cache.eviction.run(size + 1);
  t.same(await gone(cache, digests), [0, 1, 2]);
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0, 1, 2], "what was wanted once is not wanted again");
});

t.test("over the budget, what is wanted as well is the budget's doing", async (t) => {
  const cache = await openCache(t, { maxSize: 4 * size, evictTo: 1 });
  const digests = await storeSome(cache, 5);
  await cache.eviction.run(2 * size);
  t.same(await gone(cache, digests), [0, 1]);
  t.same(
    noticesOf(cache, "eviction").map(({ reason }) => reason),
    ["lru", "lru"],
  );
});

t.test("one pass at a time; what is wanted meanwhile goes with it", async (t) => {
  const cache = await openCache(t, { maxSize: 4 * size, evictTo: 1 });
  const digests = await storeSome(cache, 5);
  const held = gate();
  cache.store.faults.set("delete", () => held.opened);
  const first = cache.eviction.run();
  await eventually("a blob is being deleted", () => cache.store.count("delete") === 1);
  cache.eviction.check();
  const second = cache.eviction.run(3 * size);
  const third = cache.eviction.run(2 * size);
  t.equal(cache.store.count("delete"), 1);
  t.ok(first === second && second === third);
  held.open();
  await first;
  t.same(await gone(cache, digests), [0, 1, 2], "the most that was wanted");
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0, 1, 2]);
});

t.test("an evicted blob leaves memory too, and the images that name it are counted", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  const bytes = Buffer.from("small");
  const digest = sha256(bytes);
  await storeBlob(cache, bytes, digest);
  const opened = await cache.local.open(digest);
  await opened?.reader.close();
  t.equal((await cache.local.open(digest))?.source, "memory");
  for (const manifest of ["one", "two"])
    cache.index.blobs.setChildren(sha256(Buffer.from(manifest)), [{ digest, size: 1 }]);
  await cache.eviction.run();
  t.equal(await cache.local.open(digest), undefined);
  t.equal(noticesOf(cache, "eviction")[0]?.orphaned, 2);
});

t.test("a row whose file is gone goes all the same", async (t) => {
  const cache = await openCache(t, { maxSize: 2 * size, evictTo: 1 });
  const digests = await storeSome(cache, 3);
  await cache.store.delete(digests[0] as Digest);
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0], "and counts as freed");
});

t.test("rows go a hundred in one write, after their files", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  for (let at = 0; at < 350; at++) cache.index.blobs.add(sha256(Buffer.from(`row ${at}`)), 10, undefined, at);
  const writes: number[] = [];
  const { removeUnused } = cache.index.blobs;
  cache.index.blobs.removeUnused = (blobs) => {
    writes.push(blobs.length);
    t.equal(cache.store.count("delete"), Math.min(writes.length * 100, 350));
    return removeUnused.call(cache.index.blobs, blobs);
  };
  await cache.eviction.run();
  t.same(writes, [100, 100, 100, 50]);
  t.same(cache.index.blobs.totals(), { bytes: 0, count: 0 });
});

t.test("a blob that is stored anew while its batch is being deleted stays known", async (t) => {
  const cache = await openCache(t, { maxSize: 2 * size, evictTo: 0.5 });
  const digests = await storeSome(cache, 3);
  const first = digests[0] as Digest;
  const held = gate();
  cache.store.faults.set("delete", ({ digest }) => (digest === digests[1] ? held.opened : undefined));
  const pass = cache.eviction.run();
  await eventually("the second is being deleted", () => cache.store.count("delete") === 2);
  while (await isHere(cache, first));
  await storeBlob(cache, randomBytesFor("blob 0", size), first);
  held.open();
  await pass;
  t.same(await gone(cache, digests), [1, 2], "and the index and the store agree");
});

t.test("sixteen files are deleted at once, so that a pass keeps up with many small blobs", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  for (let at = 0; at < 40; at++) cache.index.blobs.add(sha256(Buffer.from(`row ${at}`)), 10, undefined, at);
  const gates = Array.from({ length: 40 }, gate);
  let begun = 0;
  cache.store.faults.set("delete", () => gates[begun++]?.opened);
  const pass = cache.eviction.run();
  await eventually("sixteen deletions", () => begun === 16);
  gates[3]?.open();
  await eventually("one more", () => begun === 17);
  for (const each of gates) each.open();
  await pass;
  t.equal(begun, 40);
  t.equal(cache.index.blobs.totals().count, 0);
});

t.test("what is stored while a pass runs is part of what has to go", async (t) => {
  const cache = await openCache(t, { maxSize: 2 * size, evictTo: 0.5 });
  const digests = await storeSome(cache, 3);
  const held = gate();
  cache.store.faults.set("delete", ({ digest }) => (digest === digests[1] ? held.opened : undefined));
  const pass = cache.eviction.run();
  await eventually("a deletion", () => cache.store.count("delete") === 2);
  for (const name of ["more", "yet more"])
    await storeBlob(cache, randomBytesFor(name, size), sha256(randomBytesFor(name, size)));
  cache.eviction.check();
  held.open();
  await pass;
  t.equal(cache.index.blobs.totals().bytes, size, "and no other pass is needed for it");
});

// ---- kinds ------------------------------------------------------------------------------------------------------

/** Rows of these sizes in kB, one second after another; what is evicted of them, in order. */
async function evictedOf(
  t: Test,
  {
    rows,
    maxSize,
    evictTo = 1,
    inUse = [],
  }: {
    rows: readonly (readonly [name: string, kB: number, kind?: "manifest"])[];
    maxSize: number;
    evictTo?: number;
    inUse?: readonly string[];
  },
): Promise<string[]> {
  const cache = await openCache(t, { maxSize: maxSize * 1_000, evictTo });
  const names = new Map<Digest, string>();
  for (const [at, [name, kB, kind]] of rows.entries()) {
    const digest = sha256(Buffer.from(name));
    names.set(digest, name);
    cache.index.blobs.add(digest, kB * 1_000, kind && "application/vnd.oci.image.manifest.v1+json", at);
  }
  const evicted: string[] = [];
  const eviction = new Eviction({
    store: cache.store,
    index: cache.index.blobs,
    limits: () => ({ maxSize: maxSize * 1_000, smallBlob: 1_000_000, evictTo, keepFree: 0 }),
    freeSpace: async () => cache.disk,
    fillingBytes: () => 0,
    inUse: (digest) => inUse.includes(names.get(digest) ?? ""),
    evicting: (digest) => evicted.push(names.get(digest) ?? "?"),
    notices: () => {},
    clock: cache.clock.read,
  });
  await eviction.run();
  return evicted;
}

t.test(
  "small blobs above their share go first, then large ones; small ones below it and manifests stay",
  async (t) => {
    const rows = [
      ["manifest", 10, "manifest"],
      ...Array.from({ length: 8 }, (_, at) => [`small ${at}`, 100] as const),
      ...Array.from({ length: 11 }, (_, at) => [`large ${at}`, 1_000] as const),
    ] as const;
    t.same(
      await evictedOf(t, { rows, maxSize: 10_000 }),
      // 5 % of the room are 500 kB: three of eight go. Then there are still 1,510 kB too many.
      ["small 0", "small 1", "small 2", "large 0", "large 1"],
    );
    t.same(
      await evictedOf(t, { rows, maxSize: 10_000, inUse: ["small 0", "small 6", "large 0"] }),
      ["small 1", "small 2", "small 3", "large 1", "large 2"],
      "what is in use is passed over in its kind",
    );
  },
);

t.test("manifests above their share go as well, and the rest of them last of all", async (t) => {
  const many = Array.from({ length: 6 }, (_, at) => [`manifest ${at}`, 100, "manifest"] as const);
  t.same(await evictedOf(t, { rows: [...many, ["large", 10_000]], maxSize: 10_000 }), [
    "manifest 0",
    "manifest 1",
    "manifest 2",
    "large",
  ]);
  t.same(
    await evictedOf(t, {
      rows: [...many.slice(0, 3), ["small", 200], ["large", 1_000]],
      maxSize: 10_000,
      evictTo: 0,
    }),
    [],
    "nothing is over the budget",
  );
  const disk = {
    rows: [...many.slice(0, 2), ["small", 20], ["large", 9_900]],
    maxSize: 10_000,
    evictTo: 0,
  } as const;
  t.same(await evictedOf(t, disk), ["large", "small", "manifest 0", "manifest 1"]);
});

// ---- failures ---------------------------------------------------------------------------------------------------

t.test("a blob that cannot be deleted is reported and skipped; the next ones go instead", async (t) => {
  const cache = await openCache(t, { maxSize: 4 * size, evictTo: 0.75 });
  const digests = await storeSome(cache, 5);
  cache.store.faults.set("delete", (operation) => {
    if (operation.digest === digests[0]) failing()(operation);
  });
  await cache.eviction.run();
  t.same(await gone(cache, digests), [1, 2]);
  t.match(noticesOf(cache, "store_error"), [{ op: "evict", code: "io" }]);
});

t.test("a store that deletes nothing is not asked for ever", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  for (let at = 0; at < 350; at++) cache.index.blobs.add(sha256(Buffer.from(`row ${at}`)), 10, undefined, at);
  cache.store.faults.set("delete", failing("unavailable"));
  await cache.eviction.run();
  t.equal(cache.store.count("delete"), 100);
  t.equal(noticesOf(cache, "store_error").length, 100);
  await cache.eviction.run();
  t.equal(cache.store.count("delete"), 200, "but again with the next pass");
});

t.test("an index or a disk that fails is reported; nothing is evicted, nothing thrown", async (t) => {
  const cache = await openCache(t, { maxSize: 1 });
  const digests = await storeSome(cache, 2);
  const failure = new StoreError("io", "the index is broken");
  cache.faults.blobs.set("totals", failure);
  cache.eviction.check();
  await cache.eviction.run();
  t.same(
    noticesOf(cache, "store_error").map(({ op, message }) => `${op}: ${message}`),
    ["index.totals: the index is broken", "evict: the index is broken"],
  );
  cache.faults.blobs.clear();
  t.same(await gone(cache, digests), []);
  Object.defineProperty(cache.disk, "free", {
    get: () => {
      throw new StoreError("unavailable", "no such disk");
    },
    configurable: true,
  });
  await cache.eviction.run();
  t.match(noticesOf(cache, "store_error").at(-1), { op: "evict", code: "unavailable" });
  Object.defineProperty(cache.disk, "free", { value: mebibyte });
  await cache.eviction.run();
  t.same(await gone(cache, digests), [0, 1], "and the next pass runs");
});
