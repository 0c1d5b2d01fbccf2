// The budget and the disk's reserve are kept, oldest use first, and nothing in use is touched.
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import { type House, mebibyte, noticesOf, openHouse, readAll, storeBlob } from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { repo, sha256 } from "../fixtures/memory-upstream.ts";

const size = 100_000;

/** Blobs of 100 kB, stored one second after another, the oldest first. */
async function storeSome(house: House, count: number): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (let at = 0; at < count; at++) {
    const bytes = randomBytesFor(`blob ${at}`, size);
    const digest = sha256(bytes);
    await storeBlob(house, bytes, digest);
    digests.push(digest);
    house.clock.advance(1_000);
  }
  return digests;
}

async function isHere({ store }: House, digest: Digest): Promise<boolean> {
  const blob = await store.open(digest);
  await blob?.close();
  return blob !== undefined;
}

/** Which of them are gone from the store and the index; throws when the two disagree. */
async function gone(house: House, digests: readonly Digest[]): Promise<number[]> {
  const missing: number[] = [];
  for (const [at, digest] of digests.entries()) {
    const here = await isHere(house, digest);
    if (here !== (house.index.blobs.get(digest) !== undefined))
      throw new Error(`${at}: index and store disagree`);
    if (!here) missing.push(at);
  }
  return missing;
}

t.test("at the budget nothing goes; above it, the oldest go, down to the fraction", async (t) => {
  const house = await openHouse(t, { maxSize: 10 * size, evictTo: 0.75 });
  const digests = await storeSome(house, 10);
  house.eviction.check();
  await house.eviction.run();
  t.same(await gone(house, digests), []);
  t.same(house.notices, []);
  const last = randomBytesFor("one more", 1);
  await storeBlob(house, last, sha256(last));
  await house.eviction.run();
  t.same(await gone(house, digests), [0, 1, 2]);
  t.same(
    noticesOf(house, "eviction"),
    [0, 1, 2].map((at) => ({
      kind: "eviction",
      reason: "lru",
      digest: digests[at],
      bytes: size,
      ageMs: (10 - at) * 1_000,
      orphaned: 0,
    })),
  );
  t.equal(house.index.blobs.totals().bytes, 7 * size + 1);
});

t.test("check starts a pass only above the budget, counting what fills will take", async (t) => {
  const house = await openHouse(t, { maxSize: 10 * size, evictTo: 0.5 });
  const digests = await storeSome(house, 8);
  const held = gate();
  const bytes = randomBytesFor("filling", 2 * size);
  house.upstream.transfers.push({ hold: { at: size, until: held.opened } });
  const digest = house.upstream.addBlob("team/app", bytes);
  const opened = await house.blobs.open(house.upstream, repo("team/app"), digest);
  house.eviction.check();
  await house.eviction.run();
  t.same(await gone(house, digests), [], "8 stored and 2 under way are 10");
  await storeBlob(house, randomBytesFor("more", 1), sha256(randomBytesFor("more", 1)));
  house.eviction.check();
  await eventually("a pass", () => house.store.count("delete") > 0);
  await house.eviction.run();
  t.same(
    await gone(house, digests),
    [0, 1, 2, 3, 4, 5],
    "4 stored, 2 under way and one byte are not yet half",
  );
  held.open();
  t.ok(opened.kind === "found" && (await readAll(opened.reader)).equals(bytes));
});

t.test("a clock that went back gives no negative age", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  await storeSome(house, 1);
  house.clock.advance(-5_000);
  await house.eviction.run();
  t.equal(noticesOf(house, "eviction")[0]?.ageMs, 0);
});

t.test("what was read lately stays", async (t) => {
  const house = await openHouse(t, { maxSize: 3 * size, evictTo: 0.67 });
  const app = repo("team/app");
  const digests = await storeSome(house, 4);
  for (const digest of digests) await house.access.link(house.upstream, app, [{ digest, size }]);
  const opened = await house.blobs.open(house.upstream, app, digests[0] as Digest);
  if (opened.kind === "found") await readAll(opened.reader);
  await house.eviction.run();
  t.same(await gone(house, digests), [1, 2]);
});

t.test("what is being read or filled is passed over, and goes with a later pass", async (t) => {
  const house = await openHouse(t, { maxSize: 2 * size, evictTo: 0.5 });
  const app = repo("team/app");
  const digests = await storeSome(house, 3);
  const first = digests[0] as Digest;
  await house.access.link(house.upstream, app, [{ digest: first, size }]);
  const opened = await house.blobs.open(house.upstream, app, first);
  if (opened.kind !== "found") throw new Error("not found");
  // Opening was a use; the others are used later still.
  house.clock.advance(1_000);
  for (const digest of digests.slice(1)) house.index.blobs.touch(digest, house.clock.now);
  await house.eviction.run();
  t.same(await gone(house, digests), [1, 2]);
  t.ok((await readAll(opened.reader)).equals(randomBytesFor("blob 0", size)));
  house.disk.free = 0;
  house.disk.total = 1;
  await house.eviction.run(size);
  t.same(await gone(house, digests), [0, 1, 2]);
});

t.test("a pass ends when everything is in use", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  const app = repo("team/app");
  const digests = await storeSome(house, 3);
  const readers = [];
  for (const digest of digests) {
    await house.access.link(house.upstream, app, [{ digest, size }]);
    const opened = await house.blobs.open(house.upstream, app, digest);
    if (opened.kind === "found") readers.push(opened.reader);
  }
  await house.eviction.run();
  t.same(await gone(house, digests), []);
  for (const reader of readers) await reader.close();
  await house.eviction.run();
  t.same(await gone(house, digests), [0, 1, 2]);
});

t.test("more blobs than one read of the index gives, the first hundreds of them in use", async (t) => {
  const house = await openHouse(t);
  const all = Array.from({ length: 350 }, (_, at) => sha256(Buffer.from(`row ${at}`)));
  for (const [at, digest] of all.entries()) house.index.blobs.add(digest, 10, undefined, at);
  const limits: number[] = [];
  const evicted: Digest[] = [];
  const { Eviction } = await import("../../src/cache/eviction.ts");
  const eviction = new Eviction({
    store: house.store,
    index: new Proxy(house.index.blobs, {
      get: (target, name) =>
        name === "oldest"
          ? (limit: number) => {
              limits.push(limit);
              return target.oldest(limit);
            }
          : Reflect.get(target, name).bind(target),
    }),
    maxSize: 3_400,
    evictTo: 1,
    keepFree: 0,
    freeSpace: async () => house.disk,
    fillingBytes: () => 0,
    inUse: (digest) => all.indexOf(digest) < 250,
    evicting: (digest) => evicted.push(digest),
    notices: () => {},
    clock: house.clock.read,
  });
  await eviction.run();
  t.same(evicted, all.slice(250, 260), "exactly what is over the budget");
  t.same(limits, [100, 200, 300]);
});

t.test("the free-space reserve is kept, whatever the budget says", async (t) => {
  const house = await openHouse(t, { keepFree: 0.1 });
  const digests = await storeSome(house, 5);
  house.disk.total = 100 * size;
  house.disk.free = 10 * size;
  await house.eviction.run();
  t.same(await gone(house, digests), [], "exactly the reserve is free");
  house.disk.free = 7.5 * size;
  await house.eviction.run();
  t.same(await gone(house, digests), [0, 1, 2]);
  t.same(new Set(noticesOf(house, "eviction").map(({ reason }) => reason)), new Set(["low_disk"]));
});

t.test("of budget and reserve the greater lack decides and names the reason", async (t) => {
  for (const [free, count, reason] of [
    [9, 3, "lru"],
    [6, 4, "low_disk"],
    [7, 3, "lru"],
  ] as const)
    await t.test(`${free} free`, async (t) => {
      const house = await openHouse(t, { maxSize: 5 * size, evictTo: 0.6, keepFree: 0.1 });
      const digests = await storeSome(house, 6);
      house.disk.total = 100 * size;
      house.disk.free = free * size;
      await house.eviction.run();
      t.same((await gone(house, digests)).length, count);
      t.same(new Set(noticesOf(house, "eviction").map((notice) => notice.reason)), new Set([reason]));
    });
});

t.test("as many bytes as are wanted go, within the budget or not", async (t) => {
  const house = await openHouse(t);
  const digests = await storeSome(house, 5);
  await house.eviction.run(1);
  t.same(await gone(house, digests), [0]);
  t.equal(noticesOf(house, "eviction")[0]?.reason, "low_disk");
  await house.eviction.run(size + 1);
  t.same(await gone(house, digests), [0, 1, 2]);
  await house.eviction.run();
  t.same(await gone(house, digests), [0, 1, 2], "what was wanted once is not wanted again");
});

t.test("over the budget, what is wanted as well is the budget's doing", async (t) => {
  const house = await openHouse(t, { maxSize: 4 * size, evictTo: 1 });
  const digests = await storeSome(house, 5);
  await house.eviction.run(2 * size);
  t.same(await gone(house, digests), [0, 1]);
  t.same(
    noticesOf(house, "eviction").map(({ reason }) => reason),
    ["lru", "lru"],
  );
});

t.test("one pass at a time; what is wanted meanwhile goes with it", async (t) => {
  const house = await openHouse(t, { maxSize: 4 * size, evictTo: 1 });
  const digests = await storeSome(house, 5);
  const held = gate();
  house.store.faults.set("delete", () => held.opened);
  const first = house.eviction.run();
  await eventually("a blob is being deleted", () => house.store.count("delete") === 1);
  house.eviction.check();
  const second = house.eviction.run(3 * size);
  const third = house.eviction.run(2 * size);
  t.equal(house.store.count("delete"), 1);
  t.ok(first === second && second === third);
  held.open();
  await first;
  t.same(await gone(house, digests), [0, 1, 2], "the most that was wanted");
  await house.eviction.run();
  t.same(await gone(house, digests), [0, 1, 2]);
});

t.test("an evicted blob leaves memory too, and the images that name it are counted", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  const bytes = Buffer.from("small");
  const digest = sha256(bytes);
  await storeBlob(house, bytes, digest);
  const opened = await house.local.open(digest);
  await opened?.reader.close();
  t.equal((await house.local.open(digest))?.source, "memory");
  for (const manifest of ["one", "two"])
    house.index.blobs.setChildren(sha256(Buffer.from(manifest)), [{ digest, size: 1 }]);
  await house.eviction.run();
  t.equal(await house.local.open(digest), undefined);
  t.equal(noticesOf(house, "eviction")[0]?.orphaned, 2);
});

t.test("a row whose file is gone goes all the same", async (t) => {
  const house = await openHouse(t, { maxSize: 2 * size, evictTo: 1 });
  const digests = await storeSome(house, 3);
  await house.store.delete(digests[0] as Digest);
  await house.eviction.run();
  t.same(await gone(house, digests), [0], "and counts as freed");
});

t.test("rows go a hundred in one write, after their files", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  for (let at = 0; at < 350; at++) house.index.blobs.add(sha256(Buffer.from(`row ${at}`)), 10, undefined, at);
  const writes: number[] = [];
  const { removeUnused } = house.index.blobs;
  house.index.blobs.removeUnused = (blobs) => {
    writes.push(blobs.length);
    t.equal(house.store.count("delete"), Math.min(writes.length * 100, 350));
    return removeUnused.call(house.index.blobs, blobs);
  };
  await house.eviction.run();
  t.same(writes, [100, 100, 100, 50]);
  t.same(house.index.blobs.totals(), { bytes: 0, count: 0 });
});

t.test("a blob that is stored anew while its batch is being deleted stays known", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  const digests = await storeSome(house, 3);
  const held = gate();
  house.store.faults.set("delete", ({ digest }) => (digest === digests[2] ? held.opened : undefined));
  const pass = house.eviction.run();
  await eventually("the last is being deleted", () => house.store.count("delete") === 3);
  await storeBlob(house, randomBytesFor("blob 0", size), digests[0] as Digest);
  held.open();
  await pass;
  t.same(await gone(house, digests), [1, 2], "and the index and the store agree");
});

// ---- failures ---------------------------------------------------------------------------------------------------

t.test("a blob that cannot be deleted is reported and skipped; the next ones go instead", async (t) => {
  const house = await openHouse(t, { maxSize: 4 * size, evictTo: 0.75 });
  const digests = await storeSome(house, 5);
  house.store.faults.set("delete", (operation) => {
    if (operation.digest === digests[0]) failing()(operation);
  });
  await house.eviction.run();
  t.same(await gone(house, digests), [1, 2]);
  t.match(noticesOf(house, "store_error"), [{ op: "evict", code: "io" }]);
});

t.test("a store that deletes nothing is not asked for ever", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  for (let at = 0; at < 350; at++) house.index.blobs.add(sha256(Buffer.from(`row ${at}`)), 10, undefined, at);
  house.store.faults.set("delete", failing("unavailable"));
  await house.eviction.run();
  t.equal(house.store.count("delete"), 100);
  t.equal(noticesOf(house, "store_error").length, 100);
  await house.eviction.run();
  t.equal(house.store.count("delete"), 200, "but again with the next pass");
});

t.test("an index or a disk that fails is reported; nothing is evicted, nothing thrown", async (t) => {
  const house = await openHouse(t, { maxSize: 1 });
  const digests = await storeSome(house, 2);
  const failure = new StoreError("io", "the index is broken");
  house.faults.blobs.set("totals", failure);
  house.eviction.check();
  await house.eviction.run();
  t.same(
    noticesOf(house, "store_error").map(({ op, message }) => `${op}: ${message}`),
    ["index.totals: the index is broken", "evict: the index is broken"],
  );
  house.faults.blobs.clear();
  t.same(await gone(house, digests), []);
  Object.defineProperty(house.disk, "free", {
    get: () => {
      throw new StoreError("unavailable", "no such disk");
    },
    configurable: true,
  });
  await house.eviction.run();
  t.match(noticesOf(house, "store_error").at(-1), { op: "evict", code: "unavailable" });
  Object.defineProperty(house.disk, "free", { value: mebibyte });
  await house.eviction.run();
  t.same(await gone(house, digests), [0, 1], "and the next pass runs");
});
