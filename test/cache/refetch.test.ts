// What had to leave the store although it was wanted lately is fetched again, before the next client has to wait for it.
import t, { type Test } from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { fillsOver, openBlob } from "../fixtures/blob-clients.ts";
import {
  type CacheFixture,
  mebibyte,
  openCache,
  overwriteBlob,
  readAll,
  restarted,
} from "../fixtures/cache-fixture.ts";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { eventually, quiet } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";

/** Too large to be in memory, from where it would be stored again. */
const layer = randomBytesFor("layer", mebibyte);
const repositories = ["a/a", "b/b", "c/c", "d/d"].map(repo);

/** A cache that has the layer, which each of the repositories has been seen to have. */
async function pulled(t: Test): Promise<{ cache: CacheFixture; digest: Digest }> {
  const cache = await openCache(t);
  const [digest] = repositories.map((repository) => cache.upstream.addBlob(repository, layer)) as [Digest];
  for (const repository of repositories) {
    const opened = await openBlob(cache, repository, digest);
    if (opened.kind !== "found") throw new Error(opened.kind);
    t.ok((await readAll(opened.reader)).equals(layer));
    await fillsOver(cache);
  }
  cache.upstream.calls.length = 0;
  return { cache, digest };
}

async function rot(cache: CacheFixture, digest: Digest): Promise<void> {
  await overwriteBlob(cache, digest, Buffer.alloc(layer.length));
  if ((await cache.local.checks.check(digest, "scrub")) !== "wrong") throw new Error("is not found wrong");
}

t.test("a blob comes from a repository that is known to have it", async (t) => {
  const { cache, digest } = await pulled(t);
  await rot(cache, digest);
  await eventually("it is here again", () => cache.local.indexed(digest));
  t.same(cache.refetched, [digest]);
  t.equal(cache.upstream.calls.length, 1);
  t.match(cache.upstream.calls, [/^GET blob /]);
  const local = await cache.local.open(digest);
  if (local === undefined) throw new Error("is not here");
  t.ok((await readAll(local.reader)).equals(layer));
});

t.test("a repository that has it no more is passed over, and after three nobody is asked", async (t) => {
  const { cache, digest } = await pulled(t);
  for (const repository of repositories) cache.upstream.remove(repository, digest);
  await rot(cache, digest);
  await eventually("three are asked", () => cache.upstream.calls.length === 3);
  await quiet();
  t.equal(new Set(cache.upstream.calls).size, 3, "each once");
  t.equal(cache.local.indexed(digest), false);
});

t.test("an upstream that fails is not asked again", async (t) => {
  const { cache, digest } = await pulled(t);
  cache.upstream.fault = () => {
    throw new Error("by the test");
  };
  await rot(cache, digest);
  await eventually("it is asked", () => cache.upstream.calls.length === 1);
  await quiet();
  t.equal(cache.upstream.calls.length, 1);
});

t.test("a manifest comes as one, with its media type", async (t) => {
  const cache = await openCache(t);
  const { upstream } = cache;
  const { manifest, mediaType, digest } = makeImage({ layers: [10] });
  upstream.addManifest("a/a", "1", manifest, mediaType);
  await cache.manifests.open(remoteRepository(upstream, repo("a/a")), { kind: "digest", digest });
  // In memory it would be stored again from there.
  const again = restarted(cache);
  upstream.calls.length = 0;
  await rot(again, digest);
  await eventually("it is here again", () => again.local.indexed(digest));
  t.same(upstream.calls, [`GET manifest a/a ${digest}`]);
  t.match(await again.local.manifest(digest), { body: manifest, mediaType });
});
