// What a mirror upstream says of its answers: passed on to the clients of this request, and to none later.
import t from "tap";
import type { ManifestOpened, OpenedManifest } from "../../src/cache/manifests.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { openCache } from "../fixtures/cache-fixture.ts";
import { gate } from "../fixtures/manual-time.ts";
import {
  app,
  failWith,
  first,
  openResolvedTag,
  openTag,
  other,
  push,
  record,
  second,
  ttl,
} from "../fixtures/tag-fixture.ts";

const layer = first.layers[0] as (typeof first.layers)[0];

function said(opened: ManifestOpened) {
  const { result, age, freshFor, outdated, reason, cacheStatus } = opened as OpenedManifest;
  return { result, age, freshFor, outdated, reason: reason?.code, cacheStatus };
}

t.test("a tag: passed on when it is fetched, joined or confirmed, not by the hits after that", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  cache.upstream.marks = { cacheStatus: "far; hit" };
  const answering = gate();
  cache.upstream.fault = () => answering.opened;
  const both = [openTag(cache), openTag(cache)];
  answering.open();
  const [miss, joined] = await Promise.all(both);
  t.match(said(miss as never), { result: "miss", cacheStatus: "far; hit", outdated: undefined });
  t.match(said(joined as never), { result: "joined", cacheStatus: "far; hit", outdated: undefined });
  t.match(said(await openTag(cache)), { result: "hit", freshFor: ttl, cacheStatus: undefined });
  cache.clock.advance(ttl + 1);
  cache.upstream.marks = { cacheStatus: "far; hit; ttl=3" };
  const confirmed = { result: "revalidated", outdated: true, cacheStatus: "far; hit; ttl=3" };
  t.match(said(await openTag(cache)), confirmed);
  cache.clock.advance(ttl);
  push(cache, second);
  t.match(said(await openTag(cache)), { ...confirmed, result: "miss" }, "it has moved");
});

t.test("a stale tag says why, and for how long it has been", async (t) => {
  const cache = await openResolvedTag(t);
  failWith(cache, "loop");
  cache.clock.advance(ttl + 5_000);
  t.match(said(await openTag(cache)), {
    result: "stale",
    age: ttl + 5_000,
    freshFor: -5_000,
    reason: "loop",
  });
});

t.test(
  "a tag that moved is as old as HEAD says: its body is asked for by digest, which is always fresh",
  async (t) => {
    const cache = await openResolvedTag(t);
    push(cache, second);
    cache.clock.advance(ttl);
    cache.upstream.fault = (call) => {
      cache.upstream.marks = call.startsWith("HEAD") ? { age: 50 } : { age: 0 };
    };
    t.match(said(await openTag(cache)), { result: "miss", age: 50_000 });
    t.match(await record(cache), { digest: second.digest, checkedAt: cache.clock.now - 50_000 });
    cache.clock.advance(ttl - 50_000);
    t.match(said(await openTag(cache)), { result: "revalidated" }, "ages do not add up");
  },
);

t.test("a blob: passed on to the requests the transfer is for, and to a HEAD that asked", async (t) => {
  const cache = await openCache(t);
  const { blobs, upstream } = cache;
  upstream.addBlob(app, layer.bytes);
  upstream.addBlob(other, layer.bytes);
  upstream.marks = { cacheStatus: "far; fwd=uri-miss" };
  t.match(await blobs.head(remoteRepository(upstream, app), layer.digest), {
    result: "miss",
    cacheStatus: "far; fwd=uri-miss",
  });
  const both = await Promise.all([1, 2].map(() => blobs.open(remoteRepository(upstream, app), layer.digest)));
  t.same(both.map((opened) => "result" in opened && opened.result).sort(), ["joined", "miss"]);
  for (const opened of both) {
    t.match(opened, { cacheStatus: "far; fwd=uri-miss" });
    if (opened.kind === "found") await opened.reader.close();
  }
  await Promise.all(blobs.fills.map(({ done }) => done));
  const hit = await blobs.open(remoteRepository(upstream, other), layer.digest);
  t.match(hit, { result: "hit" }, "though upstream was asked whether it may be read");
  t.notOk("cacheStatus" in hit);
  if (hit.kind === "found") await hit.reader.close();
});
