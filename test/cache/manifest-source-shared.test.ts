// Manifests in the store all nodes share: read from there when they are not here, verified, kept, and given to it.
import t, { type Test } from "tap";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { openCache } from "../fixtures/cache-fixture.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { MemorySharedBlobs } from "../fixtures/neighbours.ts";
import {
  app,
  failWith,
  first,
  openDigest,
  openTag,
  push,
  record,
  summary,
  tag,
} from "../fixtures/tag-fixture.ts";

async function twoNodes(t: Test) {
  const shared = new MemorySharedBlobs();
  const a = await openCache(t, { name: "a", sharedBlobs: shared });
  const b = await openCache(t, { name: "b", sharedBlobs: shared });
  for (const cache of [a, b]) push(cache, first);
  return { shared, a, b };
}

t.test("a manifest one node has fetched is shared with its media type", async (t) => {
  const { shared, a } = await twoNodes(t);
  await openTag(a);
  await eventually("it is shared", () => shared.kept.has(first.digest));
  t.match(shared.kept.get(first.digest), { bytes: first.manifest, mediaType: first.mediaType });
});

t.test("a node without it reads it there, once for all requests, and keeps it", async (t) => {
  const { shared, a, b } = await twoNodes(t);
  await openTag(a);
  await eventually("it is shared", () => shared.kept.has(first.digest));
  await b.access.link(remoteRepository(b.upstream, app), [{ digest: first.digest, size: undefined }]);
  const held = gate();
  shared.fault = (call) => (call.startsWith("open") ? held.opened : undefined);
  const opened = Promise.all([1, 2, 3].map(() => openDigest(b, first.digest)));
  await eventually("the shared store is asked", () => shared.count("open") > 0);
  held.open();
  for (const one of await opened)
    t.same(summary(t, one, first), { kind: "found", result: "hit", source: "s3", age: 0 });
  t.equal(shared.count(`open ${first.digest}`), 1);
  t.match(summary(t, await openDigest(b, first.digest), first), { source: "memory" });
  t.equal(b.index.blobs.manifestsNaming(first.config.digest), 1, "it is known whose blobs it names");
  t.same(b.upstream.calls, []);
});

t.test("wrong bytes, or what is no manifest, is not served from there", async (t) => {
  const { shared, b } = await twoNodes(t);
  await b.access.link(remoteRepository(b.upstream, app), [{ digest: first.digest, size: undefined }]);
  const { mediaType, digest } = first;
  const wrong = Buffer.from(`${first.manifest} `);
  shared.kept.set(digest, { bytes: wrong, mediaType, modifiedAt: shared.now });
  t.match(summary(t, await openDigest(b, digest), first), { result: "miss", source: "upstream:up" });
  t.equal(shared.count(`delete ${digest}`), 1, "wrong bytes are removed");
  const c = await openCache(t, { name: "c", sharedBlobs: shared });
  push(c, first);
  await c.access.link(remoteRepository(c.upstream, app), [{ digest, size: undefined }]);
  shared.kept.set(digest, { bytes: first.manifest, mediaType: undefined, modifiedAt: shared.now });
  t.match(summary(t, await openDigest(c, digest), first), { result: "miss" });
  t.equal(shared.sending, 0, "what is not read is let go");
});

t.test("a shared store that fails is passed over", async (t) => {
  const { shared, b } = await twoNodes(t);
  shared.fault = () => {
    throw new Error("no store today");
  };
  t.match(summary(t, await openTag(b), first), { result: "miss", source: "upstream:up" });
  t.match(summary(t, await openTag(b), first), { result: "hit", source: "memory" });
});

t.test("with upstream away a node serves what another one has shared", async (t) => {
  const { shared, a, b } = await twoNodes(t);
  await openTag(a);
  await eventually("it is shared", () => shared.kept.has(first.digest));
  failWith(b, "unreachable");
  const known = await record(a);
  await b.index.tags.put({ upstream: "up", repository: app }, tag, known as NonNullable<typeof known>);
  await b.access.link(remoteRepository(b.upstream, app), [{ digest: first.digest, size: undefined }]);
  t.match(summary(t, await openTag(b), first), { result: "hit", source: "s3" });
});
