// Tags on two nodes that share what they know: what one learns or changes, the other goes by.
import t, { type Test } from "tap";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { type CacheFixture, openCache } from "../fixtures/cache-fixture.ts";
import { gate, quiet } from "../fixtures/manual-time.ts";
import { MemoryShared } from "../fixtures/memory-shared.ts";
import { MemoryPeers } from "../fixtures/neighbours.ts";
import {
  app,
  bridged,
  failWith,
  first,
  openTag,
  push,
  second,
  tag,
  tagGives,
  ttl,
} from "../fixtures/tag-fixture.ts";

t.test("while upstream fails the manifest of a tag is read from the node that has it", async (t) => {
  const [shared, peers] = [new MemoryShared(), new MemoryPeers()];
  const there = await openCache(t, { shared, name: "there" });
  peers.caches.set("http://there", there);
  const nodes = { others: () => ["http://there"] };
  const here = await openCache(t, { shared, peers, nodes, name: "here" });
  push(there, first);
  await tagGives(t, there, first, "miss");
  failWith(here, "unreachable");
  await tagGives(t, here, first, "hit");
  await here.store.delete(first.digest);
  here.local.forget(first.digest);
  for (const { clock } of [here, there]) clock.advance(ttl + 1);
  await tagGives(t, here, first, "stale", ttl + 1);
  for (const { clock } of [here, there]) clock.advance(bridged);
  await here.store.delete(first.digest);
  here.local.forget(first.digest);
  await t.rejects(openTag(here), { code: "unreachable" }, "no longer than what is here is served");
});

async function twoNodes(t: Test): Promise<{ shared: MemoryShared; here: CacheFixture; there: CacheFixture }> {
  const shared = new MemoryShared();
  const here = await openCache(t, { shared, negativeTtl: 10_000, name: "here" });
  const { upstream } = here;
  const there = await openCache(t, {
    shared,
    upstream,
    negativeTtl: 10_000,
    name: "there",
  });
  push(here, first);
  await tagGives(t, here, first, "miss");
  await tagGives(t, there, first, "miss");
  upstream.calls.length = 0;
  return { shared, here, there };
}

/** What the node that passed a push on does. */
async function pushThrough(cache: CacheFixture): Promise<void> {
  push(cache, second);
  await cache.manifests.changed(remoteRepository(cache.upstream, app), { kind: "tag", tag }, "pushed");
}

t.test("what one node has confirmed, the other need not", async (t) => {
  const { here, there } = await twoNodes(t);
  for (const { clock } of [here, there]) clock.advance(ttl + 1);
  await tagGives(t, here, first, "revalidated");
  here.upstream.calls.length = 0;
  await tagGives(t, there, first, "hit");
  t.strictSame(there.upstream.calls, [], "upstream was not asked");
});

t.test("after a push through one node the other serves the new image at once", async (t) => {
  const { here, there } = await twoNodes(t);
  await pushThrough(here);
  await tagGives(t, there, second, "miss");
  await tagGives(t, here, second, "miss");
});

t.test("a question under way there does not bring the old image back", async (t) => {
  const { here, there } = await twoNodes(t);
  for (const { clock } of [here, there]) clock.advance(ttl + 1);
  const slow = gate();
  const { upstream } = there;
  const headManifest = upstream.headManifest.bind(upstream);
  upstream.headManifest = async (...question) => {
    const answer = await headManifest(...question);
    await slow.opened;
    return answer;
  };
  const early = openTag(there);
  await quiet();
  await pushThrough(here);
  slow.open();
  await early;
  const opened = await openTag(there);
  t.equal(opened.kind === "found" && opened.digest, second.digest);
});

t.test("a push through one node is known on the other while upstream is away", async (t) => {
  const { here, there } = await twoNodes(t);
  await pushThrough(here);
  await openTag(here);
  failWith(here, "unreachable");
  await t.rejects(openTag(there), { code: "unreachable" }, "the old image is not given for the new one");
});

t.test("without what is shared each node goes by what it knows", async (t) => {
  const { shared, here, there } = await twoNodes(t);
  shared.working = false;
  await tagGives(t, there, first, "hit");
  await pushThrough(here);
  await tagGives(t, here, second, "miss");
  await tagGives(t, there, first, "hit");
  for (const { clock } of [here, there]) clock.advance(ttl + 1);
  await tagGives(t, there, second, "miss");
  shared.working = true;
});
