// A manifest that is here, layers that are not, and an upstream that is away: what the configuration decides.
import t, { type Test } from "tap";
import type { ManifestOpened } from "../../src/cache/manifests.ts";
import type { Reference } from "../../src/oci/reference.ts";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import { type CacheFixture, noticesOf, openCache, readAll, storeBlob } from "../fixtures/cache-fixture.ts";
import { type Content, type Image, makeImage, makeIndex } from "../fixtures/images.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { MemoryUpstream, repo, tagOf } from "../fixtures/memory-upstream.ts";
import { MemoryPeers } from "../fixtures/neighbours.ts";

const app = repo("team/app");
const tag: Reference = { kind: "tag", tag: tagOf("1.0") };
const image = makeImage({ layers: [100, 200_000] });
const index = makeIndex([image, makeImage({ layers: [10], seed: "arm" })]);
const blobs = [image.config, ...image.layers];
const byDigest: Reference = { kind: "digest", digest: image.digest };
const byIndex: Reference = { kind: "digest", digest: index.digest };
const ttl = 60_000;

/** A cache that has the manifests of index and image, and what `here` lists; upstream has everything. */
async function holding(
  t: Test,
  here: readonly Content[],
  policy: "serve" | "refuse" = "refuse",
): Promise<CacheFixture> {
  const cache = await openCache(t, { manifestsWithoutLayers: policy });
  cache.upstream.addManifest(app, undefined, image.manifest, image.mediaType);
  cache.upstream.addManifest(app, "1.0", index.manifest, index.mediaType);
  for (const { bytes } of blobs) cache.upstream.addBlob(app, bytes);
  for (const reference of [tag, byDigest]) await open(cache, reference);
  for (const { bytes, digest } of here) await storeBlob(cache, bytes, digest);
  cache.upstream.calls.length = 0;
  return cache;
}

function open({ manifests, upstream }: CacheFixture, reference: Reference): Promise<ManifestOpened> {
  return manifests.open(remoteRepository(upstream, app), reference);
}

/** As while the circuit is open. */
function goAway({ upstream }: CacheFixture): void {
  upstream.available = false;
  upstream.fault = () => {
    throw new UpstreamError("circuit_open", "by the test");
  };
}

t.test(
  "refuse: whatever misses one of its blobs, config included, and only while upstream is away",
  async (t) => {
    for (const missing of blobs) {
      const cache = await holding(
        t,
        blobs.filter((blob) => blob !== missing),
      );
      t.match(await open(cache, byDigest), { kind: "found", result: "hit" }, "upstream is there");
      goAway(cache);
      await t.rejects(open(cache, byDigest), { code: "layers_missing" });
      t.match(noticesOf(cache, "upstream_error"), [
        { upstream: "up", code: "layers_missing", message: new RegExp(missing.digest) },
      ]);
      await storeBlob(cache, missing.bytes, missing.digest);
      t.match(await open(cache, byDigest), { kind: "found", result: "hit" }, "all of it is here");
    }
  },
);

t.test("serve: as if nothing were missing", async (t) => {
  const cache = await holding(t, [], "serve");
  goAway(cache);
  t.match(await open(cache, byDigest), { kind: "found", result: "hit" });
  cache.clock.advance(ttl);
  t.match(await open(cache, tag), { kind: "found", result: "stale" });
});

t.test("an index: served as long as one of its images is here whole", async (t) => {
  const cache = await holding(t, blobs);
  const arm = index.images[1] as Image;
  cache.upstream.addManifest(app, undefined, arm.manifest, arm.mediaType);
  for (const { digest } of [arm, index]) await open(cache, { kind: "digest", digest });
  goAway(cache);
  for (const reference of [tag, byIndex])
    t.match(await open(cache, reference), { kind: "found", result: "hit" });
  await t.rejects(open(cache, { kind: "digest", digest: arm.digest }), { code: "layers_missing" });
  cache.clock.advance(ttl);
  t.match(await open(cache, tag), { kind: "found", result: "stale" });
  await cache.store.delete(image.config.digest);
  cache.index.blobs.remove(image.config.digest);
  for (const reference of [tag, byIndex]) await t.rejects(open(cache, reference), { code: "layers_missing" });
  t.match(
    noticesOf(cache, "upstream_error").at(-1)?.message,
    new RegExp(image.config.digest),
    "of the first",
  );
});

t.test("an index none of whose images were ever asked for", async (t) => {
  const cache = await openCache(t, { manifestsWithoutLayers: "refuse" });
  cache.upstream.addManifest(app, undefined, index.manifest, index.mediaType);
  await open(cache, byIndex);
  goAway(cache);
  await t.rejects(open(cache, byIndex), { code: "layers_missing" });
});

t.test("a tag of the image itself, fresh and stale", async (t) => {
  const cache = await holding(t, []);
  cache.upstream.addManifest(app, "1.0", image.manifest, image.mediaType);
  cache.clock.advance(ttl);
  t.match(await open(cache, tag), { kind: "found", result: "revalidated" });
  goAway(cache);
  await t.rejects(open(cache, tag), { code: "layers_missing" }, "fresh");
  cache.clock.advance(ttl);
  await t.rejects(open(cache, tag), { code: "layers_missing" }, "stale");
  t.same(noticesOf(cache, "stale_served"), [], "nothing was served");
});

t.test(
  "the first failure, before any circuit opens: digests of the repository too, for five seconds",
  async (t) => {
    const cache = await holding(t, []);
    cache.clock.advance(ttl);
    cache.upstream.fault = () => {
      throw new UpstreamError("unreachable", "by the test");
    };
    await t.rejects(open(cache, tag), { code: "layers_missing" });
    await t.rejects(open(cache, byDigest), { code: "layers_missing" });
    cache.clock.advance(5_000);
    await t.rejects(open(cache, byDigest), { code: "layers_missing" });
    cache.clock.advance(1);
    t.match(await open(cache, byDigest), { kind: "found", result: "hit" }, "the failure is forgotten");
    await t.rejects(open(cache, tag), { code: "layers_missing" });
    await t.rejects(open(cache, byDigest), { code: "layers_missing" });
    cache.upstream.fault = undefined;
    cache.clock.advance(4_501);
    t.match(await open(cache, tag), { kind: "found", result: "revalidated" });
    t.match(await open(cache, byDigest), { kind: "found", result: "hit" }, "an answer ends it");
  },
);

t.test("a layer on its way counts as here; so does one that the index does not know", async (t) => {
  const [config, small, large] = blobs as [Content, Content, Content];
  const cache = await holding(t, [config, small]);
  const held = gate();
  cache.upstream.transfers.push({ hold: { at: 100_000, until: held.opened } });
  const opened = await cache.blobs.open(remoteRepository(cache.upstream, app), large.digest);
  if (opened.kind !== "found") throw new Error(opened.kind);
  goAway(cache);
  t.match(await open(cache, byDigest), { kind: "found" });
  held.open();
  await readAll(opened.reader);
  await eventually("the fill is over", () => cache.blobs.fills.length === 0);
  cache.index.blobs.remove(large.digest);
  t.match(await open(cache, byDigest), { kind: "found" });
});

t.test("foreign layers do not count", async (t) => {
  const foreign = makeImage({ layers: [10, 20], seed: "foreign" });
  const json = JSON.parse(foreign.manifest.toString());
  json.layers[0].urls = ["https://storage.example.com/layer"];
  const cache = await openCache(t, { manifestsWithoutLayers: "refuse" });
  const body = Buffer.from(JSON.stringify(json));
  const digest = cache.upstream.addManifest(app, undefined, body, foreign.mediaType);
  await open(cache, { kind: "digest", digest });
  for (const { bytes, digest } of [foreign.config, ...foreign.layers.slice(1)])
    await storeBlob(cache, bytes, digest);
  goAway(cache);
  t.match(await open(cache, { kind: "digest", digest }), { kind: "found", result: "hit" });
});

// ---- several nodes ------------------------------------------------------------------------------------------------

/** A cache without the blobs, and another node, which has those of `there` and the manifests. */
async function neighbours(t: Test, there: readonly Content[]) {
  const peers = new MemoryPeers();
  const upstream = new MemoryUpstream();
  const options = { manifestsWithoutLayers: "refuse", upstream, peers } as const;
  const here = await openCache(t, {
    ...options,
    name: "here",
    nodes: { others: () => ["http://there", "http://gone"] },
  });
  const cache = await openCache(t, { ...options, name: "there", nodes: { others: () => ["http://here"] } });
  peers.caches.set("http://there", cache);
  peers.caches.set("http://here", here);
  upstream.addManifest(app, undefined, image.manifest, image.mediaType);
  upstream.addManifest(app, "1.0", index.manifest, index.mediaType);
  for (const each of [here, cache]) await open(each, tag);
  await open(cache, byDigest);
  for (const { bytes, digest } of there) {
    upstream.addBlob(app, bytes);
    await storeBlob(cache, bytes, digest);
    await cache.access.link(remoteRepository(upstream, app), [{ digest, size: bytes.length }]);
  }
  return { here, cache, peers };
}

t.test("what another node holds counts as here, asked for once in a while", async (t) => {
  const { here, peers } = await neighbours(t, blobs);
  await open(here, byDigest);
  goAway(here);
  t.match(await open(here, byDigest), { kind: "found", result: "hit" });
  t.equal(peers.calls.length, 2 * blobs.length, "each other node about each blob");
  t.match(await open(here, byDigest), { kind: "found", result: "hit" });
  t.equal(peers.calls.length, 2 * blobs.length);
  here.clock.advance(30_001);
  await open(here, byDigest);
  t.equal(peers.calls.length, 4 * blobs.length);
});

t.test("an index counts when another node has one of its images whole", async (t) => {
  const { here, peers } = await neighbours(t, blobs);
  goAway(here);
  t.match(await open(here, byIndex), { kind: "found" });
  t.match(peers.calls.join(), `HEAD manifest ${image.digest}`);
});

t.test("what no node holds is refused, and what one node has not in full", async (t) => {
  const { here, peers } = await neighbours(t, blobs.slice(1));
  await open(here, byDigest);
  goAway(here);
  await t.rejects(open(here, byDigest), { code: "layers_missing" });
  await t.rejects(open(here, byIndex), { code: "layers_missing" });
  peers.caches.clear();
  here.clock.advance(30_001);
  await t.rejects(open(here, byDigest), { code: "layers_missing" }, "nor by nodes that do not answer");
});
