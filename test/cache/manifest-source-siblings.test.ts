// Manifests by digest that a mirror of another datacenter holds.
import t, { type Test } from "tap";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import { app } from "../fixtures/blob-clients.ts";
import { noticesOf, openCache } from "../fixtures/cache-fixture.ts";
import { makeImage } from "../fixtures/images.ts";
import { tagOf } from "../fixtures/memory-upstream.ts";
import { MemoryPeers } from "../fixtures/neighbours.ts";
import { MemorySibling } from "../fixtures/siblings.ts";

const image = makeImage({ layers: [10, 20] });
const { digest, manifest: body } = image;
const mediaType = mediaTypes.ociManifest;
const byDigest = { kind: "digest", digest } as const;
const byTag = { kind: "tag", tag: tagOf("1.0") } as const;

async function start(t: Test, options: Parameters<typeof openCache>[1] = {}) {
  const [sibling, second] = [new MemorySibling("b"), new MemorySibling("c")];
  for (const each of [sibling, second]) each.timeout = 5_000;
  sibling.manifests.set(digest, { body, mediaType });
  const cache = await openCache(t, { siblings: [sibling, second], ...options });
  cache.upstream.addManifest(app, "1.0", body, mediaType);
  const remote = remoteRepository(cache.upstream, app);
  const link = () => cache.access.link(remote, [{ digest, size: body.length }]);
  return { cache, sibling, second, remote, link };
}

t.test("of a repository that is known to have it: from the sibling, and kept", async (t) => {
  const { cache, remote, link } = await start(t);
  await link();
  t.match(await cache.manifests.open(remote, byDigest), { result: "miss", source: "sibling:b", body });
  t.same(cache.upstream.calls, []);
  t.match(await cache.manifests.open(remote, byDigest), { result: "hit", source: "memory" });
  const [layer] = image.layers;
  t.ok(
    layer && (await cache.access.named(remote, layer.digest)),
    "and its layers are known to be the repository's",
  );
});

t.test("of one that is not: upstream's answer is the proof and the manifest", async (t) => {
  const { cache, sibling, remote } = await start(t);
  t.match(await cache.manifests.open(remote, byDigest), { result: "miss", source: "upstream:up" });
  t.same(sibling.calls, []);
});

t.test("of a tag that is known, while upstream is away and its body is not here", async (t) => {
  const { cache, sibling, remote } = await start(t);
  await cache.manifests.open(remote, byTag);
  t.same(sibling.calls, [], "a tag is never asked for there");
  cache.local.forget(digest);
  await cache.store.delete(digest);
  cache.index.blobs.remove(digest);
  await cache.access.link(remote, [{ digest, size: body.length }]);
  cache.upstream.fault = () => {
    throw new UpstreamError("unreachable", "by the test");
  };
  t.match(await cache.manifests.open(remote, byTag), { source: "sibling:b", digest });
});

t.test("another body than that of the digest: upstream's is given, and the sibling left alone", async (t) => {
  const { cache, sibling, remote, link } = await start(t);
  await link();
  sibling.manifests.set(digest, { body: makeImage({ layers: [30], seed: "other" }).manifest, mediaType });
  t.match(await cache.manifests.open(remote, byDigest), { source: "upstream:up", body });
  t.match(noticesOf(cache, "sibling"), [{ sibling: "b", result: "wrong" }]);
  t.same(noticesOf(cache, "upstream_error"), []);
});

t.test("one that does not answer: upstream does", async (t) => {
  const { cache, sibling, remote, link } = await start(t);
  await link();
  sibling.fault = () => {
    throw new UpstreamError("timeout", "by the test");
  };
  t.match(await cache.manifests.open(remote, byDigest), { source: "upstream:up", body });
  t.match(noticesOf(cache, "sibling"), [{ sibling: "b", result: "failed" }]);
});

t.test("while upstream is away a sibling that fails hides no other", async (t) => {
  const { cache, sibling, second, remote, link } = await start(t);
  await link();
  second.manifests.set(digest, { body, mediaType });
  cache.upstream.available = false;
  sibling.fault = () => {
    throw new UpstreamError("unreachable", "by the test");
  };
  t.match(await cache.manifests.open(remote, byDigest), { source: "sibling:c", body });
});

t.test("those that have said no are not asked once more when upstream fails", async (t) => {
  const { cache, sibling, second, remote, link } = await start(t);
  await link();
  sibling.manifests.clear();
  cache.upstream.fault = () => {
    throw new UpstreamError("unreachable", "by the test");
  };
  await t.rejects(cache.manifests.open(remote, byDigest), { code: "unreachable" });
  t.same(
    [sibling, second].map(({ calls }) => calls.length),
    [1, 1],
  );
});

t.test("one that was not asked, since another had failed, is when upstream fails as well", async (t) => {
  const { cache, sibling, second, remote, link } = await start(t);
  await link();
  second.manifests.set(digest, { body, mediaType });
  const fault = () => {
    throw new UpstreamError("unreachable", "by the test");
  };
  [sibling.fault, cache.upstream.fault] = [fault, fault];
  t.match(await cache.manifests.open(remote, byDigest), { source: "sibling:c", body });
  t.equal(sibling.calls.length, 1);
});

t.test("another node that has it and fails when asked for it: a sibling is asked", async (t) => {
  const peers = new MemoryPeers();
  const nodes = { others: () => ["http://other"] };
  const { cache, sibling, remote, link } = await start(t, { peers, nodes });
  await link();
  peers.has = async () => true;
  // It was away when it was asked before upstream was.
  sibling.available = false;
  cache.upstream.fault = () => {
    sibling.available = true;
    throw new UpstreamError("unreachable", "by the test");
  };
  t.match(await cache.manifests.open(remote, byDigest), { source: "sibling:b", body });
});
