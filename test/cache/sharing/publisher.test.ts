// Uploads to the store all nodes share: behind the clients' backs, a few at once, again after a failure, bounded.
import t, { type Test } from "tap";
import { Publisher } from "../../../src/cache/sharing/publisher.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { StoreError } from "../../../src/ports/blobs.ts";
import {
  type CacheFixture,
  noticesOf,
  openCache,
  overwriteBlob,
  storeBlob,
} from "../../fixtures/cache-fixture.ts";
import { eventually, gate, ManualPause, quiet } from "../../fixtures/manual-time.ts";
import { sha256 } from "../../fixtures/memory-upstream.ts";
import { MemorySharedBlobs } from "../../fixtures/neighbours.ts";

const manifest = "application/vnd.oci.image.manifest.v1+json";

async function open(t: Test) {
  const shared = new MemorySharedBlobs();
  const cache = await openCache(t, { sharedBlobs: shared });
  return { cache, shared, publisher: cache.publisher as Publisher };
}

async function stored(cache: CacheFixture, text: string): Promise<{ digest: Digest; size: number }> {
  const bytes = Buffer.from(text);
  const digest = sha256(bytes);
  await storeBlob(cache, bytes, digest);
  return { digest, size: bytes.length };
}

t.test("a blob is uploaded with its media type, once published", async (t) => {
  const { cache, shared, publisher } = await open(t);
  const { digest, size } = await stored(cache, "a manifest");
  await publisher.publish(digest, size, manifest);
  t.match(shared.kept.get(digest), { bytes: Buffer.from("a manifest"), mediaType: manifest });
  t.equal(publisher.pending, 0);
});

t.test("four uploads at once, the others wait", async (t) => {
  const { cache, shared, publisher } = await open(t);
  const released = gate();
  shared.fault = () => released.opened;
  const blobs = await Promise.all(Array.from({ length: 7 }, (_, i) => stored(cache, `blob ${i}`)));
  const uploads = blobs.map(({ digest, size }) => publisher.publish(digest, size, undefined));
  await eventually("four have begun", () => shared.count("put") === 4);
  await quiet();
  t.equal(shared.count("put"), 4);
  t.equal(publisher.pending, 3);
  released.open();
  await Promise.all(uploads);
  t.equal(shared.kept.size, 7);
});

t.test("what failed is tried again, later each time, until it is there", async (t) => {
  const { cache, shared, publisher } = await open(t);
  shared.fault = () => {
    throw new StoreError("unavailable", "not today");
  };
  const { digest, size } = await stored(cache, "a blob");
  await publisher.publish(digest, size, undefined);
  for (const pause of [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
    await eventually("it waits", () => cache.time.waiting === 1);
    t.equal(cache.time.asked.at(-1), pause);
    cache.time.elapse();
  }
  // The seventh pause has ended just now.
  shared.fault = undefined;
  await eventually("it is there", () => shared.kept.has(digest));
  t.equal(shared.count("put"), 8);
});

t.test("while the shared store fails no caller waits for an upload", async (t) => {
  const { cache, shared, publisher } = await open(t);
  const never = gate();
  const { digest, size } = await stored(cache, "a blob");
  shared.fault = () => {
    throw new StoreError("unavailable", "not today");
  };
  await publisher.publish(digest, size, undefined);
  shared.fault = () => never.opened;
  const another = await stored(cache, "another blob");
  await publisher.publish(another.digest, another.size, undefined);
  t.notOk(shared.kept.has(another.digest), "it resolved before the upload");
  never.open();
  await eventually("the upload goes on behind", () => shared.kept.has(another.digest));
});

t.test("a blob that is no longer here is let go", async (t) => {
  const { cache, shared, publisher } = await open(t);
  const { digest, size } = await stored(cache, "evicted");
  await cache.store.delete(digest);
  await publisher.publish(digest, size, undefined);
  t.equal(shared.count("put"), 0);
  t.equal(publisher.pending, 0);
});

t.test("at most 10,000 blobs wait: the oldest is forgotten, with a notice", async (t) => {
  const { cache, shared, publisher } = await open(t);
  const never = gate();
  shared.fault = () => never.opened;
  const first = await Promise.all(Array.from({ length: 4 }, (_, i) => stored(cache, `first ${i}`)));
  for (const { digest, size } of first) void publisher.publish(digest, size, undefined);
  await eventually("all workers are busy", () => shared.count("put") === 4);
  const digests = Array.from({ length: 10_001 }, (_, i) => sha256(Buffer.from(`waits ${i}`)));
  const waits = digests.map((digest) => publisher.publish(digest, 1, undefined));
  t.equal(publisher.pending, 10_000);
  await waits[0];
  const [notice] = noticesOf(cache, "store_error");
  t.match(notice, { op: "publish", code: "unavailable", message: digests[0] });
  never.open();
});

t.test("stopping ends what waits and what is under way", async (t) => {
  const { cache, publisher, shared } = await open(t);
  shared.fault = () => {
    throw new StoreError("unavailable", "not today");
  };
  const { digest, size } = await stored(cache, "a blob");
  await publisher.publish(digest, size, undefined);
  await eventually("it waits", () => cache.time.waiting === 1);
  await publisher.stop();
  t.equal(publisher.pending, 0);
  t.equal(cache.time.waiting, 0);
  await publisher.publish(digest, size, undefined);
  t.equal(shared.count("put"), 1, "nothing more is uploaded");
});

t.test(
  "what is forgotten is uploaded no more: what waits, what is under way, what was to be tried again",
  async (t) => {
    const { cache, shared, publisher } = await open(t);
    const released = gate();
    shared.fault = () => released.opened;
    const blobs = await Promise.all(Array.from({ length: 5 }, (_, i) => stored(cache, `blob ${i}`)));
    const uploads = blobs.map(({ digest, size }) => publisher.publish(digest, size, undefined));
    await eventually("four have begun", () => shared.count("put") === 4);
    const [first, , , , last] = blobs.map(({ digest }) => digest);
    shared.fault = () => {
      throw new StoreError("unavailable", "it was ended");
    };
    const forgotten = publisher.forget([first as Digest, last as Digest]);
    await uploads[4];
    t.equal(publisher.pending, 0);
    released.open();
    await forgotten;
    await Promise.all(uploads);
    t.equal(shared.count("put"), 4, "the last one has not begun");
    t.equal(cache.time.waiting, 0, "and none is to be tried again");
  },
);

t.test("what is published at the very moment the last worker ends is uploaded", async (t) => {
  const bytes = Buffer.from("a blob that is read at once");
  const local = {
    open: async () => ({ size: bytes.length, read: async () => bytes, close: async () => {} }),
  };
  for (let turns = 0; turns < 20; turns++) {
    const shared = new MemorySharedBlobs();
    const { pause } = new ManualPause();
    const publisher = new Publisher({
      shared,
      local,
      pause,
      check: async () => "unknown",
      notices: () => {},
    });
    const held = gate();
    shared.fault = () => held.opened;
    for (let i = 0; i < 4; i++) void publisher.publish(sha256(Buffer.from(`${i}`)), bytes.length, undefined);
    await eventually("four are under way", () => shared.count("put") === 4);
    held.open();
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    const late = sha256(Buffer.from("late"));
    void publisher.publish(late, bytes.length, undefined);
    await quiet();
    t.ok(shared.kept.has(late), `${turns} turns after the last answer`);
  }
});

t.test("an upload that meets changed bytes has them taken out, and is not tried again", async (t) => {
  for (const code of ["corrupt", "size_mismatch"] as const)
    for (const changed of [true, false])
      await t.test(`${code}, ${changed ? "changed" : "right when read again"}`, async (t) => {
        const { cache, shared, publisher } = await open(t);
        const { digest, size } = await stored(cache, "a blob");
        if (changed) await overwriteBlob(cache, digest, Buffer.from("A blob"));
        shared.fault = () => {
          throw new StoreError(code, "other bytes");
        };
        await publisher.publish(digest, size, undefined);
        t.match(noticesOf(cache, "bit_rot"), changed ? [{ by: "upload", digest }] : []);
        t.equal(cache.local.indexed(digest), !changed);
        await eventually("it waits, or is done", () => changed || cache.time.waiting === 1);
        t.equal(publisher.pending, changed ? 0 : 1);
      });
});
