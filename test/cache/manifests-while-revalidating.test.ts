// Tags that have expired and are served while upstream is asked (RFC 5861, section 3).
import t, { type Test } from "tap";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { type CacheFixture, noticesOf } from "../fixtures/cache-fixture.ts";
import { atOnce, eventually, gate } from "../fixtures/manual-time.ts";
import { tagOf } from "../fixtures/memory-upstream.ts";
import {
  app,
  failWith,
  first,
  openResolvedTag,
  openTag,
  push,
  second,
  summary,
  tag,
  tagGives,
  ttl,
} from "../fixtures/tag-fixture.ts";

const bound = 300_000;
const head = `HEAD manifest team/app ${tag}`;

function openStale(t: Test, staleWhileRevalidate = bound): Promise<CacheFixture> {
  return openResolvedTag(t, { remembered: true, freshness: { staleWhileRevalidate } });
}

/** Until the question behind an answer has its own. */
function settled(cache: CacheFixture): Promise<void> {
  return eventually("upstream has answered", () => results(cache).length === 1);
}

function results(cache: CacheFixture): string[] {
  return noticesOf(cache, "tag_refresh").map(({ when, result }) => `${when} ${result}`);
}

t.test("an expired tag is served at once, with its age, and confirmed behind it, once", async (t) => {
  const cache = await openStale(t);
  const slow = gate();
  cache.upstream.fault = () => slow.opened;
  cache.clock.advance(ttl + 10_000);
  for (let i = 0; i < 3; i++)
    t.match(summary(t, await openTag(cache), first), {
      result: "hit",
      source: "memory",
      age: ttl + 10_000,
      freshFor: -10_000,
    });
  t.strictSame(cache.upstream.calls, [head]);
  slow.open();
  await settled(cache);
  t.strictSame(results(cache), ["stale confirmed"]);
  await tagGives(t, cache, first, "hit", 0);
  t.strictSame(cache.upstream.calls, [head]);
});

t.test("the new manifest is given from the next request on", async (t) => {
  const cache = await openStale(t);
  push(cache, second);
  cache.clock.advance(ttl);
  await tagGives(t, cache, first, "hit", ttl);
  await settled(cache);
  await tagGives(t, cache, second, "hit", 0);
  t.strictSame(results(cache), ["stale moved"]);
});

t.test("past the bound a client waits for upstream", async (t) => {
  const cache = await openStale(t);
  cache.clock.advance(ttl + bound - 1);
  await tagGives(t, cache, first, "hit", ttl + bound - 1);
  await settled(cache);
  cache.clock.advance(ttl + bound);
  await tagGives(t, cache, first, "revalidated");
});

t.test("unless it is set every client of an expired tag waits", async (t) => {
  const cache = await openStale(t, 0);
  cache.clock.advance(ttl);
  await tagGives(t, cache, first, "revalidated");
  t.strictSame(results(cache), []);
});

t.test("after a failure, and while upstream is away, it is as without", async (t) => {
  const cache = await openStale(t);
  cache.clock.advance(ttl);
  failWith(cache, "unreachable");
  await tagGives(t, cache, first, "hit", ttl);
  await settled(cache);
  t.strictSame(results(cache), ["stale failed"]);
  t.match(summary(t, await openTag(cache), first), { result: "stale", reason: { code: "unreachable" } });
  cache.clock.advance(10_000);
  cache.upstream.available = false;
  await tagGives(t, cache, first, "stale", ttl + 10_000);
});

t.test("what upstream refuses is refused from the next request on", async (t) => {
  const cache = await openStale(t);
  cache.upstream.remove(app, tag);
  cache.clock.advance(ttl);
  await tagGives(t, cache, first, "hit", ttl);
  await settled(cache);
  t.match(await openTag(cache), { kind: "absent" });
  t.strictSame(results(cache), ["stale refused"]);
});

t.test("a tag that a webhook has named, or a push, is waited for", async (t) => {
  const cache = await openStale(t);
  push(cache, second);
  await cache.manifests.changed(remoteRepository(cache.upstream, app), { kind: "tag", tag }, "unsure");
  await tagGives(t, cache, second, "miss");
  failWith(cache, "unreachable");
  await cache.manifests.changed(remoteRepository(cache.upstream, app), { kind: "tag", tag }, "unsure");
  t.match(summary(t, await openTag(cache), second), { result: "stale" }, "and served while upstream is away");
});

t.test("a tag whose manifest was deleted through this node is waited for", async (t) => {
  const cache = await openStale(t);
  const remote = remoteRepository(cache.upstream, app);
  cache.clock.advance(ttl);
  await cache.manifests.changed(remote, { kind: "digest", digest: first.digest }, "deleted");
  await tagGives(t, cache, first, "revalidated");
});

t.test("a registry that is pushed to is asked before HEAD is answered", async (t) => {
  const cache = await openStale(t);
  cache.clock.advance(ttl + 1);
  const remote = remoteRepository(cache.upstream, app);
  const opened = await cache.manifests.open(remote, { kind: "tag", tag }, 60_000);
  t.match(opened, { result: "revalidated" });
});

t.test("tags that are to be asked about every time are waited for", async (t) => {
  const cache = await openStale(t);
  const signature = tagOf(`sha256-${"a".repeat(64)}.sig`);
  push(cache, second, app, signature);
  await openTag(cache, signature);
  t.match(await openTag(cache, signature), { result: "revalidated" });
});

t.test("a record of a clock that was wrong is waited for", async (t) => {
  const cache = await openStale(t);
  cache.clock.advance(-3_600_000);
  await tagGives(t, cache, first, "revalidated");
});

t.test("an upstream that does not answer keeps nobody waiting within the bound", async (t) => {
  const cache = await openStale(t);
  cache.upstream.fault = () => new Promise(() => {});
  cache.clock.advance(ttl);
  for (let i = 0; i < 5; i++) {
    const opened = await atOnce(openTag(cache));
    t.match(opened, { result: "hit" });
    cache.clock.advance(10_000);
  }
  t.strictSame(cache.upstream.calls, [head]);
});
