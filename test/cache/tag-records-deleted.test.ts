import t from "tap";
import { remoteRepository } from "../../src/ports/upstream.ts";
import type { CacheFixture } from "../fixtures/cache-fixture.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";
import { app, failWith, first, openResolvedTag, push, tagGives, ttl } from "../fixtures/tag-fixture.ts";

type Changed = Parameters<CacheFixture["manifests"]["changed"]>[2];

function changed({ manifests, upstream }: CacheFixture, what: Changed, repository = app): Promise<void> {
  return manifests.changed(
    remoteRepository(upstream, repository),
    { kind: "digest", digest: first.digest },
    what,
  );
}

for (const what of ["deleted", "unsure"] as const)
  t.test(`${what}: the tag is confirmed once, then fresh again`, async (t) => {
    const cache = await openResolvedTag(t);
    await changed(cache, what);
    cache.clock.advance(1);
    await tagGives(t, cache, first, "revalidated");
    await tagGives(t, cache, first, "hit");
    t.same(cache.upstream.calls, ["HEAD manifest team/app 1.0"]);
    cache.clock.advance(ttl - 1);
    await tagGives(t, cache, first, "hit", ttl - 1);
  });

t.test("deleted while upstream's answer of before is on its way", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl);
  const answer = gate();
  cache.upstream.fault = () => answer.opened;
  const before = tagGives(t, cache, first, "revalidated");
  await eventually("upstream is asked", () => cache.upstream.calls.length === 1);
  cache.clock.advance(1);
  await changed(cache, "deleted");
  cache.clock.advance(1);
  cache.upstream.fault = undefined;
  answer.open();
  await before;
  await tagGives(t, cache, first, "revalidated");
  await tagGives(t, cache, first, "hit");
  t.equal(cache.upstream.calls.length, 2);
});

t.test("deleted, and upstream is away: stale rather than gone", async (t) => {
  const cache = await openResolvedTag(t);
  await changed(cache, "deleted");
  failWith(cache, "unreachable");
  await tagGives(t, cache, first, "stale");
});

t.test("what was pushed, or deleted in another repository, is not doubtful", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, first, "team/other");
  await changed(cache, "pushed");
  await changed(cache, "deleted", repo("team/other"));
  await tagGives(t, cache, first, "hit");
  t.same(cache.upstream.calls, []);
});
