import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/name.ts";
import type { LinkedBlob } from "../../../src/ports/records.ts";
import { openIndex, type SqliteIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { byLastUse } from "../../fixtures/index-order.ts";

const ociManifest = "application/vnd.oci.image.manifest.v1+json";

function openTestIndex(t: Test): SqliteIndex {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  return index;
}

function named(name: string): LinkedBlob {
  return { digest: digest(name), size: 1 };
}

function digest(name: string | number): Digest {
  return digestOf(Buffer.from(String(name)));
}

function oldest({ blobs }: SqliteIndex, limit = 100): [Digest, number][] {
  return byLastUse(blobs, limit).map((blob) => [blob.digest, blob.usedAt]);
}

t.test("add, get and remove", async (t) => {
  const { blobs } = openTestIndex(t);
  t.equal(blobs.get(digest("a")), undefined);
  blobs.add(digest("a"), 2 ** 40, undefined, 10);
  t.strictSame(blobs.get(digest("a")), { size: 2 ** 40, mediaType: undefined, checkedAt: undefined });
  blobs.add(digest("a"), 2 ** 40, ociManifest, 11);
  t.strictSame(
    blobs.get(digest("a")),
    { size: 2 ** 40, mediaType: ociManifest, checkedAt: undefined },
    "the type is filled in",
  );
  blobs.add(digest("a"), 2 ** 40, undefined, 12);
  t.equal(blobs.get(digest("a"))?.mediaType, ociManifest, "and stays");
  blobs.remove(digest("a"));
  t.equal(blobs.get(digest("a")), undefined);
  blobs.remove(digest("a"));
  const long = digestOf(Buffer.from("a"), "sha512");
  blobs.add(long, 1, undefined, 1);
  t.strictSame(blobs.get(long), { size: 1, mediaType: undefined, checkedAt: undefined });
  t.equal(byLastUse(blobs, 1)[0]?.digest, long);
});

t.test("totals follow every change", async (t) => {
  const { blobs } = openTestIndex(t);
  t.same(blobs.totals(), { bytes: 0, count: 0 });
  blobs.add(digest("a"), 100, undefined, 1);
  blobs.add(digest("b"), 50, ociManifest, 2);
  t.same(blobs.totals(), { bytes: 150, count: 2 });
  blobs.add(digest("a"), 100, undefined, 3);
  t.same(blobs.totals(), { bytes: 150, count: 2 }, "a known blob counts once");
  blobs.add(digest("a"), 70, undefined, 4);
  t.same(blobs.totals(), { bytes: 120, count: 2 });
  blobs.remove(digest("b"));
  blobs.remove(digest("never there"));
  t.same(blobs.totals(), { bytes: 70, count: 1 });
});

t.test("oldest is in order of last use, touches in memory included", async (t) => {
  const index = openTestIndex(t);
  for (const [at, name] of ["a", "b", "c", "d"].entries())
    index.blobs.add(digest(name), 1, undefined, 100 + at);
  t.same(oldest(index, 2), [
    [digest("a"), 100],
    [digest("b"), 101],
  ]);
  index.blobs.touch(digest("a"), 200);
  index.blobs.touch(digest("never there"), 1);
  index.blobs.add(digest("b"), 1, undefined, 300);
  index.blobs.touch(digest("c"), 400);
  index.blobs.remove(digest("c"));
  t.same(oldest(index), [
    [digest("d"), 103],
    [digest("a"), 200],
    [digest("b"), 300],
  ]);
  index.blobs.touch(digest("d"), 1);
  index.blobs.add(digest("d"), 1, undefined, 500);
  t.same(oldest(index).at(-1), [digest("d"), 500], "an older touch does not undo an add");
});

t.test("touches survive a stop", async (t) => {
  const directory = t.testdir();
  const first = openIndex({ directory, clock: Date.now });
  first.blobs.add(digest("a"), 1, undefined, 1);
  first.blobs.add(digest("b"), 1, undefined, 2);
  first.blobs.touch(digest("a"), 3);
  first.close();
  const second = openIndex({ directory, clock: Date.now });
  t.teardown(() => second.close());
  t.same(oldest(second), [
    [digest("b"), 2],
    [digest("a"), 3],
  ]);
});

t.test("images that name a blob", async (t) => {
  const { blobs } = openTestIndex(t);
  for (const name of ["image 1", "image 2"]) {
    blobs.setChildren(digest(name), [named("base"), named(`${name} layer`)]);
    blobs.add(digest(name), 1, ociManifest, 1);
  }
  t.equal(blobs.manifestsNaming(digest("base")), 2);
  t.equal(blobs.manifestsNaming(digest("image 1 layer")), 1);
  t.equal(blobs.manifestsNaming(digest("image 1")), 0);
  blobs.setChildren(digest("image 1"), [named("base"), named("image 1 layer")]);
  t.equal(blobs.manifestsNaming(digest("base")), 2, "told twice, counted once");
  blobs.remove(digest("base"));
  t.equal(blobs.manifestsNaming(digest("base")), 2, "a missing layer is still named");
  blobs.remove(digest("image 1"));
  t.equal(blobs.manifestsNaming(digest("base")), 1, "an image that is gone names nothing");
});

t.test("the catalog", async (t) => {
  const { blobs, links } = openTestIndex(t);
  const link = (upstream: string, repository: string, ...names: string[]): Promise<void> =>
    links.add(
      { upstream, repository: repository as Repository },
      names.map((name) => ({ digest: digest(name), size: undefined })),
    );
  await link("hub", "b/two", "shared", "own");
  await link("hub", "a", "shared");
  await link("hub", "a-b", "shared");
  await link("hub", "a/b", "shared");
  await link("hub", "none/here", "absent");
  await link("other", "elsewhere", "shared");
  t.same(blobs.repositories("hub", undefined, 10), [], "nothing is here yet");
  blobs.add(digest("shared"), 1, undefined, 1);
  t.same(blobs.repositories("hub", undefined, 10), ["a", "a-b", "a/b", "b/two"], "in ASCII order");
  t.same(blobs.repositories("hub", undefined, 2), ["a", "a-b"]);
  t.same(blobs.repositories("hub", "a-b", 2), ["a/b", "b/two"]);
  t.same(blobs.repositories("hub", "a.", 1), ["a/b"], "after a name that is none");
  t.same(blobs.repositories("hub", "b/two", 10), []);
  t.same(blobs.repositories("other", undefined, 10), ["elsewhere"]);
  t.same(blobs.repositories("nobody", undefined, 10), []);

  blobs.add(digest("own"), 1, undefined, 1);
  blobs.remove(digest("shared"));
  t.same(blobs.repositories("hub", undefined, 10), ["b/two"]);
  // Access outlives the bytes by an hour at most (links.ts): the catalog does not wait for it.
  t.equal(await links.has({ upstream: "hub", repository: "a" as Repository }, digest("shared")), true);
  await link("hub", "none/here", "own");
  t.same(blobs.repositories("hub", undefined, 10), ["b/two", "none/here"], "linked after it came");
  await link("hub", "none/here", "own");
  await links.remove({ upstream: "hub", repository: "none/here" as Repository }, digest("own"));
  await links.remove({ upstream: "hub", repository: "none/here" as Repository }, digest("own"));
  t.same(blobs.repositories("hub", undefined, 10), ["b/two"]);
  await links.remove({ upstream: "hub", repository: "b/two" as Repository }, digest("shared"));
  t.same(
    blobs.repositories("hub", undefined, 10),
    ["b/two"],
    "a link to what is not here counted for nothing",
  );
  await link("hub", "b/two", "shared");
  blobs.add(digest("shared"), 1, undefined, 1);
  blobs.remove(digest("own"));
  t.same(blobs.repositories("hub", undefined, 10), ["a", "a-b", "a/b", "b/two"]);
});

t.test("a watch sees what is added and removed, not what is read", async (t) => {
  const { blobs } = openTestIndex(t);
  blobs.add(digest("a"), 1, undefined, 1);
  const watch = blobs.watch();
  blobs.get(digest("a"));
  blobs.touch(digest("a"), 2);
  byLastUse(blobs, 1);
  t.same([...watch.changed], []);
  blobs.add(digest("b"), 1, undefined, 1);
  blobs.remove(digest("a"));
  t.same(watch.changed, new Set([digest("b"), digest("a")]));
  watch.stop();
  blobs.add(digest("c"), 1, undefined, 1);
  t.equal(watch.changed.has(digest("c")), false);
});

t.test("a shard is listed in pages", async (t) => {
  const { blobs } = openTestIndex(t);
  const all = Array.from({ length: 3000 }, (_, at) => digest(at));
  for (const each of all) blobs.add(each, 1, undefined, 1);
  const long = Array.from({ length: 300 }, (_, at) => digestOf(Buffer.from(String(at)), "sha512"));
  for (const each of long) blobs.add(each, 1, undefined, 1);
  const list = (algorithm: "sha256" | "sha512", shard: string): Digest[] => {
    const found: Digest[] = [];
    // More turns than there are blobs: a list that never comes to its end fails, and does not hang.
    for (let turn = 0; turn <= all.length; turn++) {
      const page = blobs.listShard(algorithm, shard, found.at(-1), 4);
      found.push(...page.map((blob) => blob.digest));
      if (page.length < 4) return found;
    }
    throw new Error("the list does not end");
  };
  for (const shard of ["00", "7f", "ff"]) {
    const inShard = (each: Digest): boolean => each.slice(7, 9) === shard;
    t.same(list("sha256", shard), all.filter(inShard).sort());
    t.same(list("sha512", shard), long.filter(inShard).sort());
  }
});

t.test("a closed index fails, it is not an empty one", async (t) => {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  index.blobs.add(digest("a"), 1, undefined, 1);
  index.close();
  index.close();
  const closed = { name: "StoreError", code: "closed" };
  t.throws(() => index.blobs.get(digest("a")), closed);
  t.throws(() => index.blobs.totals(), closed);
  t.throws(() => index.blobs.remove(digest("a")), closed);
  await t.rejects(index.links.has({ upstream: "hub", repository: "a" as Repository }, digest("a")), closed);
  t.doesNotThrow(() => index.blobs.touch(digest("a"), 2));
});

t.test("last use, also when it is not written yet", async (t) => {
  const { blobs } = openTestIndex(t);
  t.equal(blobs.usedAt(digest("a")), undefined);
  blobs.add(digest("a"), 1, undefined, 10);
  t.equal(blobs.usedAt(digest("a")), 10);
  blobs.touch(digest("a"), 20);
  t.equal(blobs.usedAt(digest("a")), 20);
  blobs.flush();
  t.equal(blobs.usedAt(digest("a")), 20);
  blobs.touch(digest("b"), 30);
  t.equal(blobs.usedAt(digest("b")), undefined, "of a blob that is not here");
});

t.test("what was used by a clock far ahead goes first, in order of its use", async (t) => {
  const now = 1_700_000_000_000;
  const index = openIndex({ directory: t.testdir(), clock: () => now });
  t.teardown(() => index.close());
  const year = 365 * 86_400_000;
  index.blobs.add(digest("old"), 1, undefined, now - year);
  index.blobs.add(digest("a little ahead"), 1, undefined, now + 300_000);
  index.blobs.add(digest("far ahead"), 1, undefined, now + year + 1);
  index.blobs.add(digest("less far"), 1, undefined, now + year);
  index.blobs.add(digest("used since"), 1, undefined, now + year);
  index.blobs.touch(digest("used since"), now);
  const order = ["less far", "far ahead", "old", "used since", "a little ahead"].map(digest);
  const found = (limit: number): Digest[] =>
    index.blobs.leastWorth("small", limit).map((each) => each.digest);
  t.same(found(100), order);
  t.same(found(3), order.slice(0, 3));
});

const megabyte = 1_000_000;

t.test(
  "manifests, small and large blobs are told apart, and their bytes counted, whatever becomes of them",
  async (t) => {
    const { blobs } = openTestIndex(t);
    const kinds = () =>
      (["manifest", "small", "large"] as const).map((kind) =>
        blobs.leastWorth(kind, 10).map(({ size }) => size),
      );
    blobs.add(digest("small"), megabyte - 1, undefined, 1);
    blobs.add(digest("large"), megabyte, undefined, 2);
    blobs.add(digest("manifest"), 2 * megabyte, ociManifest, 3);
    t.same(kinds(), [[2 * megabyte], [megabyte - 1], [megabyte]]);
    t.same(blobs.bytesByKind(), { manifest: 2 * megabyte, small: megabyte - 1 });
    blobs.add(digest("small"), megabyte - 1, ociManifest, 4);
    t.same(kinds(), [[2 * megabyte, megabyte - 1], [], [megabyte]], "it has turned out to be a manifest");
    t.same(blobs.bytesByKind(), { manifest: 3 * megabyte - 1, small: 0 });
    blobs.add(digest("large"), 10, undefined, 5);
    t.same(kinds(), [[2 * megabyte, megabyte - 1], [10], []], "its size is another");
    blobs.remove(digest("manifest"));
    await blobs.removeUnused([{ digest: digest("large"), usedAt: 5 }]);
    t.same(blobs.bytesByKind(), { manifest: megabyte - 1, small: 0 });
  },
);

t.test("with another border blobs change their kind, and it is kept", async (t) => {
  const directory = t.testdir();
  const open = (smallBlob: number): SqliteIndex => openIndex({ directory, clock: Date.now, smallBlob });
  const first = open(100);
  for (const size of [50, 100, 150]) first.blobs.add(digest(size), size, undefined, size);
  first.blobs.add(digest("manifest"), 70, ociManifest, 1);
  t.same(first.blobs.bytesByKind(), { manifest: 70, small: 50 });
  first.close();
  const second = open(150);
  t.same(second.blobs.bytesByKind(), { manifest: 70, small: 150 });
  t.same(
    second.blobs.leastWorth("large", 9).map(({ size }) => size),
    [150],
  );
  second.blobs.touch(digest(150), 200);
  second.close();
  const third = open(60);
  t.teardown(() => third.close());
  t.same(
    third.blobs.leastWorth("large", 9).map(({ size }) => size),
    [100, 150],
    "used once, and twice",
  );
  t.same(third.blobs.bytesByKind(), { manifest: 70, small: 50 });
});

t.test("of large blobs the one used least goes first, and what was used much long ago in time", async (t) => {
  const directory = t.testdir();
  let { blobs, close } = opened();
  function opened() {
    const index = openIndex({ directory, clock: Date.now });
    return { blobs: index.blobs, close: () => index.close() };
  }
  const order = (): string[] => {
    const names = new Map(["much", "twice", "once", "later", "new"].map((name) => [digest(name), name]));
    return blobs.leastWorth("large", 10).map((each) => names.get(each.digest) ?? "?");
  };
  const add = (name: string, usedAt: number): void => blobs.add(digest(name), megabyte, undefined, usedAt);
  const evict = async (): Promise<void> => await blobs.removeUnused(blobs.leastWorth("large", 1));
  for (const [at, name] of ["much", "twice", "once"].entries()) add(name, at);
  for (let at = 10; at < 14; at++) blobs.touch(digest("much"), at);
  blobs.touch(digest("twice"), 20);
  t.same(order(), ["once", "twice", "much"], "used 1, 2 and 5 times");
  add("later", 30);
  t.same(order(), ["once", "later", "twice", "much"], "as often, and later");
  await evict();
  close();
  ({ blobs, close } = opened());
  t.teardown(() => close());
  add("new", 40);
  t.same(
    order(),
    ["later", "twice", "new", "much"],
    "2: the one that went was worth 1, and this was used once",
  );
  await evict();
  await evict();
  blobs.touch(digest("new"), 50);
  blobs.touch(digest("new"), 51);
  t.same(order(), ["much", "new"], "2 and three uses are as much as five, and later");
  await evict();
  add("once", 60);
  t.same(order(), ["new", "once"], "5 and one use: more than what was used three times before");
});

t.test("when blobs were hashed last: the longest ago first, and before them what never was", async (t) => {
  const { blobs } = openTestIndex(t);
  blobs.add(digest("late"), 1, undefined, 1, 300.4);
  blobs.add(digest("never"), 2, undefined, 1);
  blobs.add(digest("early"), 3, undefined, 1, 100);
  const order = () => blobs.longestUnchecked(10).map(({ checkedAt, size }) => [size, checkedAt]);
  t.same(order(), [
    [2, undefined],
    [3, 100],
    [1, 300],
  ]);
  blobs.add(digest("early"), 3, ociManifest, 5);
  t.equal(blobs.get(digest("early"))?.checkedAt, 100, "a use is no check");
  blobs.checked(digest("early"), 400.6);
  t.same(blobs.longestUnchecked(2), [
    { digest: digest("never"), size: 2, checkedAt: undefined },
    { digest: digest("late"), size: 1, checkedAt: 300 },
  ]);
  blobs.forgetChecksSince(301);
  t.equal(blobs.get(digest("early"))?.checkedAt, undefined);
  t.equal(blobs.get(digest("late"))?.checkedAt, 300, "what was checked before is not doubted");
});

t.test("the size manifests state, from children and from links", async (t) => {
  const { blobs, links } = openTestIndex(t);
  t.equal(blobs.statedSize(digest("layer")), undefined);
  await links.add({ upstream: "hub", repository: "team/app" as Repository }, [
    { digest: digest("layer"), size: 7 },
  ]);
  t.equal(blobs.statedSize(digest("layer")), 7);
  blobs.setChildren(digest("image"), [{ digest: digest("layer"), size: undefined }]);
  t.equal(blobs.statedSize(digest("layer")), 7);
  blobs.setChildren(digest("image"), [{ digest: digest("layer"), size: 8 }]);
  t.equal(blobs.statedSize(digest("layer")), 8, "filled in");
});

t.test("the index counts itself, beyond what a small one takes", async (t) => {
  const { blobs } = openTestIndex(t);
  t.equal(blobs.ownBytes(), 0);
  const manifest = digest("bomb");
  blobs.add(manifest, 1, ociManifest, 1);
  blobs.setChildren(
    manifest,
    Array.from({ length: 230_000 }, (_, at) => ({ digest: digest(at), size: undefined })),
  );
  const large = blobs.ownBytes();
  t.ok(large > 1_000_000, `${large} bytes`);
  blobs.remove(manifest);
  t.ok(blobs.ownBytes() < large / 2, "what is free in its file does not count");
});
