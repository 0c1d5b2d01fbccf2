import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { makeDigest } from "../../../src/oci/digest.ts";
import type { BlobInfo } from "../../../src/ports/blobs.ts";
import { evictOldest } from "../../../src/storage/s3/eviction.ts";
import { objectKey } from "../../../src/storage/s3/object.ts";
import { someBytes } from "../../fixtures/blob-store-suite.ts";
import { openS3, s3ConfigOf, s3Prefix } from "../../fixtures/s3-fixture.ts";
import { refused, type S3Object, startS3 } from "../../fixtures/scripted-s3.ts";
import { noSignal, share } from "../../fixtures/shared-blobs-suite.ts";

t.test("oldest first, until nine tenths are left", async (t) => {
  const s3 = await startS3(t);
  const { blobs, notices } = openS3(t, s3ConfigOf(s3.url));
  const digests: Digest[] = [];
  for (let i = 0; i < 10; i++) {
    const digest = await share(blobs, someBytes(1000, i + 1));
    digests.push(digest);
    (s3.objects.get(objectKey(s3Prefix, digest)) as S3Object).modifiedAt = 1_000_000 * ((i * 7) % 10);
  }
  s3.objects.set("mirror/blobs/readme", { bytes: Buffer.alloc(1_000_000), headers: {}, modifiedAt: 0 });
  s3.pageSize = 3;
  t.same(await blobs.evict({ maxBytes: 10_000, smallBlob: 1 }, noSignal()), {
    bytes: 10_000,
    deleted: 0,
    freed: 0,
  });
  t.equal(s3.count("delete"), 0);
  t.same(await blobs.evict({ maxBytes: 9_999, smallBlob: 1 }, noSignal()), {
    bytes: 8_000,
    deleted: 2,
    freed: 2_000,
  });
  const left = digests.filter((digest) => s3.objects.has(objectKey(s3Prefix, digest)));
  // 0 and 1 of the ages: the first blob, and the fourth.
  t.same(
    left,
    digests.filter((_, i) => i !== 0 && i !== 3),
  );
  t.ok(s3.objects.has("mirror/blobs/readme"), "what is not ours stays");
  t.same(notices, []);
  s3.faultOf("delete", refused(403, "AccessDenied"));
  await t.rejects(blobs.evict({ maxBytes: 1, smallBlob: 1 }, noSignal()), { name: "StoreError" });
  const giving = new AbortController();
  giving.abort();
  await t.rejects(blobs.evict({ maxBytes: 1, smallBlob: 1 }, giving.signal), { name: "StoreError" });
});

t.test("more blobs than are remembered take more than one listing", async (t) => {
  const stored = new Map<Digest, BlobInfo>();
  for (let i = 0; i < 25_000; i++) {
    const digest = makeDigest("sha256", i.toString(16).padStart(64, "0"));
    stored.set(digest, { digest, size: 1, modifiedAt: (i * 7919) % 25_000 });
  }
  let listings = 0;
  const options = {
    list: async function* () {
      listings++;
      yield* [...stored.values()];
    },
    delete: async (digest: Digest) => stored.delete(digest),
  };
  t.same(await evictOldest(options, { maxBytes: 10_000, smallBlob: 1 }, noSignal()), {
    bytes: 9_000,
    deleted: 16_000,
    freed: 16_000,
  });
  t.equal(listings, 2);
  t.equal(stored.size, 9_000);
  t.ok([...stored.values()].every(({ modifiedAt }) => modifiedAt >= 16_000));
});

t.test("a listing that goes on showing what was deleted is not gone through for ever", async (t) => {
  const stored: BlobInfo[] = Array.from({ length: 25_000 }, (_, at) => ({
    digest: makeDigest("sha256", at.toString(16).padStart(64, "0")),
    size: 1,
    modifiedAt: at,
  }));
  let listings = 0;
  const options = {
    list: async function* () {
      if (++listings > 10) throw new Error("listed again and again");
      yield* stored;
    },
    delete: async () => true,
  };
  const { bytes, deleted } = await evictOldest(options, { maxBytes: 1, smallBlob: 1 }, noSignal());
  t.equal(listings, 2);
  t.same([bytes, deleted], [25_000, 10_000], "as many as are remembered");
});

t.test("when all is held for pinned images there is nothing to do", async (t) => {
  const stored: BlobInfo[] = Array.from({ length: 30_000 }, (_, at) => ({
    digest: makeDigest("sha256", at.toString(16).padStart(64, "0")),
    size: 1,
    modifiedAt: at,
  }));
  let listings = 0;
  const options = {
    known: { isHeld: () => true, isSuperseded: () => true },
    list: async function* () {
      if (++listings > 10) throw new Error("listed again and again");
      yield* stored;
    },
    delete: async () => t.fail("it is held"),
  };
  for (const maxBytes of [1, 29_999]) {
    const found = await evictOldest(options, { maxBytes, smallBlob: 2 }, noSignal());
    t.same(found, { bytes: 30_000, deleted: 0, freed: 0 });
  }
  t.equal(listings, 2);
});

t.test("small blobs go down to their share, then the oldest large ones", async (t) => {
  const stored: BlobInfo[] = [];
  const add = (size: number): void => {
    const digest = makeDigest("sha256", stored.length.toString(16).padStart(64, "0"));
    stored.push({ digest, size, modifiedAt: stored.length });
  };
  for (let i = 0; i < 10; i++) add(10);
  for (let i = 0; i < 10; i++) add(100);
  const deleted: number[] = [];
  const options = {
    list: async function* () {
      yield* stored.toReversed();
    },
    delete: async (digest: Digest) => deleted.push(stored.findIndex((each) => each.digest === digest)),
  };
  const room = { maxBytes: 1_000, smallBlob: 100 };
  // 5 % of the room are 50 bytes: five of ten go. Then there are 150 bytes too many.
  t.same(await evictOldest(options, room, noSignal()), { bytes: 850, deleted: 7, freed: 250 });
  t.same(
    deleted.toSorted((a, b) => a - b),
    [0, 1, 2, 3, 4, 10, 11],
  );
});

t.test("what is held for pinned images stays, and what only superseded images use goes first", async (t) => {
  const stored: BlobInfo[] = Array.from({ length: 10 }, (_, at) => ({
    digest: makeDigest("sha256", at.toString(16).padStart(64, "0")),
    size: 100,
    modifiedAt: at,
  }));
  const isOneOf = (digest: Digest, ...places: number[]): boolean =>
    places.some((at) => stored[at]?.digest === digest);
  const deleted: number[] = [];
  const options = {
    known: {
      isHeld: (digest: Digest) => isOneOf(digest, 0, 2),
      isSuperseded: (digest: Digest) => isOneOf(digest, 2, 8),
    },
    list: async function* () {
      yield* stored.toReversed();
    },
    delete: async (digest: Digest) => deleted.push(stored.findIndex((each) => each.digest === digest)),
  };
  const evict = (maxBytes: number) => evictOldest(options, { maxBytes, smallBlob: 1 }, noSignal());
  // Of the 600 bytes besides what is pinned 540 are left at most.
  t.same(await evict(800), { bytes: 700, deleted: 3, freed: 300 });
  t.same(deleted, [8, 1, 3]);
  deleted.length = 0;
  t.same(await evict(100), { bytes: 200, deleted: 8, freed: 800 }, "all but those two");
  t.notOk(deleted.includes(0) || deleted.includes(2));
});

t.test("when most is pinned, of the rest as much is left as without pins", async (t) => {
  const stored: BlobInfo[] = Array.from({ length: 101 }, (_, at) => ({
    digest: makeDigest("sha256", at.toString(16).padStart(64, "0")),
    size: 100,
    modifiedAt: at,
  }));
  const held = new Set(stored.slice(0, 80).map(({ digest }) => digest));
  const options = {
    known: { isHeld: (digest: Digest) => held.has(digest), isSuperseded: () => false },
    list: async function* () {
      yield* stored;
    },
    delete: async (digest: Digest) => t.notOk(held.has(digest)),
  };
  const found = await evictOldest(options, { maxBytes: 10_000, smallBlob: 1 }, noSignal());
  t.same(found, { bytes: 9_800, deleted: 3, freed: 300 }, "of 2,100 bytes 1,800, nine tenths of 2,000");
});
