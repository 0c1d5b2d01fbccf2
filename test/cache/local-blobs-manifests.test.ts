// Manifest bodies that are here: with their type, verified when they leave the disk, and from memory when the store
// fails.
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { largestManifest } from "../../src/oci/manifest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import {
  type CacheFixture,
  nothingLeft,
  noticesOf,
  openCache,
  overwriteBlob,
  readAll,
  restarted,
  storeBlob,
  usedAt,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { sha256 } from "../fixtures/memory-upstream.ts";

const mediaType = "application/vnd.oci.image.manifest.v1+json";
const body = Buffer.from('{"schemaVersion":2}');
const manifest = { body, mediaType };
const manifestDigest = sha256(body);
const child = sha256(Buffer.from("a layer"));

/** A manifest, as it is read, that names these layers. */
function named(...digests: Digest[]) {
  const children = digests.map(
    (digest) => ({ digest, size: 1, role: "layer", platform: undefined }) as const,
  );
  return { mediaType, children };
}

async function blobOf({ local }: CacheFixture) {
  const blob = await local.open(manifestDigest);
  return blob && readAll(blob.reader);
}

t.test("a manifest is kept in memory and in the store, with its type and its children", async (t) => {
  const cache = await openCache(t);
  await cache.local.putManifest(manifestDigest, body, named(child));
  t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "memory" });
  t.equal(cache.store.count("open"), 0);
  t.equal(cache.index.blobs.manifestsNaming(child), 1);
  const again = restarted(cache);
  t.same(await again.local.manifest(manifestDigest), { ...manifest, source: "disk" });
  t.same(await again.local.manifest(manifestDigest), { ...manifest, source: "memory" });
  t.equal(cache.store.count("open"), 1);
  t.equal(cache.store.count("close"), 1);
  t.same(await blobOf(again), manifest.body, "it is a blob like any other");
  await nothingLeft(t, cache);
});

t.test("every use of a manifest is remembered", async (t) => {
  const cache = await openCache(t);
  await cache.local.putManifest(manifestDigest, body, named());
  t.equal(usedAt(cache, manifestDigest), cache.clock.now);
  const again = restarted(cache);
  for (const _ of ["disk", "memory"]) {
    cache.clock.advance(1_000);
    await again.local.manifest(manifestDigest);
    t.equal(usedAt(cache, manifestDigest), cache.clock.now);
  }
});

t.test("a blob not known to be a manifest is none, in memory and in the store", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, manifest.body, manifestDigest);
  t.equal(await cache.local.manifest(manifestDigest), undefined);
  await blobOf(cache);
  t.equal(await cache.local.manifest(manifestDigest), undefined, "also once it is in memory");
  await cache.local.putManifest(manifestDigest, body, named());
  t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "memory" });
});

t.test("a manifest opened as a blob first is still a manifest", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, manifest.body, manifestDigest, mediaType);
  await blobOf(cache);
  t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "memory" });
});

t.test("no manifest is here, or its row has outlived its file", async (t) => {
  const cache = await openCache(t);
  t.equal(await cache.local.manifest(manifestDigest), undefined);
  cache.index.blobs.add(manifestDigest, manifest.body.length, mediaType, 0);
  t.equal(await cache.local.manifest(manifestDigest), undefined);
  t.equal(cache.local.indexed(manifestDigest), false);
  t.same(cache.notices, []);
});

t.test("a stored manifest that is wrong is removed with a notice, whatever its size", async (t) => {
  for (const [name, wrong] of [
    ["other bytes", Buffer.alloc(manifest.body.length, "{")],
    ["truncated", manifest.body.subarray(1)],
    ["grown", Buffer.concat([manifest.body, manifest.body])],
    ["grown beyond what is read", Buffer.alloc(largestManifest + 1)],
  ] as const)
    await t.test(name, async (t) => {
      const cache = await openCache(t);
      await storeBlob(cache, manifest.body, manifestDigest, mediaType);
      await overwriteBlob(cache, manifestDigest, wrong);
      t.equal(await cache.local.manifest(manifestDigest), undefined);
      const digest = manifestDigest;
      t.match(cache.notices, [
        { kind: "bit_rot", digest, bytes: wrong.length, quarantined: true },
        { kind: "eviction", reason: "corrupt", digest, bytes: wrong.length },
      ]);
      t.equal(cache.local.indexed(manifestDigest), false);
      t.equal(await cache.store.open(manifestDigest), undefined);
      t.equal(cache.store.count("close"), 1);
    });
});

t.test("a manifest of 4 MiB is held; what the index says to be larger is not even opened", async (t) => {
  const cache = await openCache(t);
  const body = Buffer.alloc(largestManifest, " ");
  await cache.local.putManifest(sha256(body), body, named());
  t.equal((await restarted(cache).local.manifest(sha256(body)))?.body.length, largestManifest);
  const larger = Buffer.alloc(largestManifest + 1, " ");
  await storeBlob(cache, larger, sha256(larger), mediaType);
  const opens = cache.store.count("open");
  t.equal(await cache.local.manifest(sha256(larger)), undefined);
  t.equal(cache.store.count("open"), opens);
  t.same(cache.notices, []);
});

t.test("a store that fails while a manifest is read is reported, and nothing stays open", async (t) => {
  const cache = await openCache(t);
  await storeBlob(cache, manifest.body, manifestDigest, mediaType);
  for (const name of ["open", "read"] as const) {
    cache.store.faults.clear();
    cache.store.faults.set(name, failing());
    t.equal(await cache.local.manifest(manifestDigest), undefined);
  }
  t.equal(cache.store.count("close"), 1);
  cache.store.faults.clear();
  cache.faults.blobs.set("get", new StoreError("closed", "closed"));
  t.equal(await cache.local.manifest(manifestDigest), undefined);
  t.same(
    noticesOf(cache, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["manifest io", "manifest io", "manifest closed"],
  );
  cache.faults.blobs.clear();
  t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "disk" });
});

t.test("a manifest that cannot be stored is served from memory, with a notice", async (t) => {
  for (const name of ["create", "append", "commit", "release"] as const)
    await t.test(name, async (t) => {
      const cache = await openCache(t);
      cache.store.faults.set(name, failing());
      await cache.local.putManifest(manifestDigest, body, named());
      t.match(cache.notices, [{ kind: "store_error", op: "put_manifest", code: "io" }]);
      t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "memory" });
      t.equal(cache.index.blobs.get(manifestDigest), undefined);
      t.equal(cache.store.count("abort"), name === "append" || name === "commit" ? 1 : 0);
      await nothingLeft(t, cache);
    });
});

t.test("a manifest whose row or children cannot be written is served from memory", async (t) => {
  for (const method of ["setChildren", "add"] as const)
    await t.test(method, async (t) => {
      const cache = await openCache(t);
      cache.faults.blobs.set(method, new StoreError("no_space", "full"));
      await cache.local.putManifest(manifestDigest, body, named(child));
      t.match(cache.notices, [{ op: method === "add" ? "index.add" : "put_manifest", code: "no_space" }]);
      t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "memory" });
    });
});

t.test("a manifest larger than the whole cache is served from memory without a word", async (t) => {
  const cache = await openCache(t, { maxSize: manifest.body.length - 1 });
  await cache.local.putManifest(manifestDigest, body, named());
  t.same(await cache.local.manifest(manifestDigest), { ...manifest, source: "memory" });
  t.equal(cache.store.count("create"), 0);
  t.same(cache.notices, []);
});
