// Tags that clients ask for regularly are confirmed before they expire: what upstream is asked, and what clients are given.
import t, { type Test } from "tap";
import { remoteRepository, UpstreamError } from "../../../src/ports/upstream.ts";
import {
  type CacheFixture,
  type CacheFixtureOptions,
  noticesOf,
  openCache,
  restarted,
} from "../../fixtures/cache-fixture.ts";
import { atOnce, gate, quiet } from "../../fixtures/manual-time.ts";
import { MemoryShared } from "../../fixtures/memory-shared.ts";
import { MemoryUpstream } from "../../fixtures/memory-upstream.ts";
import { app, first, push, second, tag, ttl } from "../../fixtures/tag-fixture.ts";

const client = { key: "192.0.2.1", exempt: false };
const head = `HEAD manifest team/app ${tag}`;
const ahead = `${head}, background`;

/** What a client is given: how, and how old it is. */
async function ask({ manifests, upstream }: CacheFixture, name = tag) {
  const opened = await manifests.open(remoteRepository(upstream, app, client), { kind: "tag", tag: name });
  if (opened.kind !== "found" || "reader" in opened) throw new Error(opened.kind);
  const { result, age, digest } = opened;
  return { result, age, digest };
}

/** Moves the clocks of all caches on, in the steps in which the program looks at what is due. */
async function pass(milliseconds: number, ...caches: readonly CacheFixture[]): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 250) {
    for (const { clock } of caches) clock.advance(250);
    for (const { refreshAhead } of caches) await refreshAhead.look();
  }
}

/** A client that asks every 20 s for so many times to live. */
async function poll(times: number, ...caches: readonly CacheFixture[]): Promise<string[]> {
  const results: string[] = [];
  for (let asked = 0; asked < 3 * times; asked++) {
    for (const cache of caches) {
      const { result, age } = await ask(cache);
      results.push(result);
      if (age > ttl) results.push(`${age} ms old`);
    }
    await pass(ttl / 3, ...caches);
  }
  return results;
}

/** When a tag that was confirmed just now has been looked at. */
const due = ttl - 1_500;

/** A cache whose tag is asked for regularly, and was confirmed and asked for just now; upstream's record of calls is empty. */
async function openRegular(t: Test, options: CacheFixtureOptions = {}): Promise<CacheFixture> {
  const cache = await openCache(t, { remembered: true, ...options });
  push(cache, first);
  await poll(2, cache);
  await ask(cache);
  cache.upstream.calls.length = 0;
  cache.notices.length = 0;
  return cache;
}

function refreshes(cache: CacheFixture): string[] {
  return noticesOf(cache, "tag_refresh").map(({ when, result }) => `${when} ${result}`);
}

/** Until the next confirmation of a regular tag has been due. */
async function untilDue(cache: CacheFixture): Promise<void> {
  await poll(1, cache);
}

t.test("no client of a tag asked for in each of three TTLs waits for upstream", async (t) => {
  const cache = await openCache(t, { remembered: true });
  push(cache, first);
  t.strictSame([...new Set(await poll(3, cache))].sort(), ["hit", "miss", "revalidated"]);
  const asked = cache.upstream.calls.length;
  t.strictSame([...new Set(await poll(30, cache))], ["hit"]);
  const calls = cache.upstream.calls.slice(asked);
  t.strictSame([...new Set(calls)], [ahead]);
  t.ok(calls.length >= 30 && calls.length <= 34, `${calls.length} HEADs in 30 TTLs`);
  t.strictSame([...new Set(refreshes(cache))], ["ahead confirmed"]);
});

t.test("a tag is not confirmed ahead before three TTLs of requests", async (t) => {
  const cache = await openCache(t, { remembered: true });
  push(cache, first);
  await poll(2, cache);
  t.equal(cache.upstream.count(ahead), 0);
});

t.test("requests of nobody, such as a prefetch, make no tag regular", async (t) => {
  const cache = await openCache(t, { remembered: true });
  push(cache, first);
  for (let i = 0; i < 30; i++) {
    await cache.manifests.open(remoteRepository(cache.upstream, app), { kind: "tag", tag });
    await pass(ttl / 3, cache);
  }
  t.equal(cache.upstream.count(ahead), 0);
});

t.test("a tag is asked about for two TTLs at most when nobody asks for it any more", async (t) => {
  const cache = await openRegular(t);
  await pass(3 * ttl, cache);
  t.ok(cache.upstream.calls.length <= 2, cache.upstream.calls.join());
  const asked = cache.upstream.calls.length;
  await pass(20 * ttl, cache);
  t.equal(cache.upstream.calls.length, asked);
  t.match(await ask(cache), { result: "revalidated" }, "the next client asks");
});

t.test("one client in each TTL is enough, though it is late at times", async (t) => {
  const cache = await openCache(t, { remembered: true });
  push(cache, first);
  const results: string[] = [];
  for (let i = 0; i < 40; i++) {
    results.push((await ask(cache)).result);
    await pass([61_000, 55_000, 66_000, 59_000][i % 4] ?? 0, cache);
  }
  t.strictSame([...new Set(results.slice(4))], ["hit"]);
});

t.test("the manifest of a tag that has moved is here before a client asks", async (t) => {
  const cache = await openRegular(t);
  push(cache, second);
  await untilDue(cache);
  t.strictSame(cache.upstream.calls.slice(0, 3), [ahead, head, `GET manifest team/app ${second.digest}`]);
  t.match(await ask(cache), { result: "hit", digest: second.digest });
  t.strictSame(refreshes(cache), ["ahead moved"]);
});

t.test("what upstream refuses stays until a client asks", async (t) => {
  for (const refuse of [
    ({ upstream }: CacheFixture) => upstream.remove(app, tag),
    ({ upstream }: CacheFixture) => upstream.deny(app),
  ]) {
    const cache = await openRegular(t, { name: `refused-${refuse}`.replace(/\W/g, "") });
    refuse(cache);
    const { clock } = cache;
    await pass(due, cache);
    t.strictSame(refreshes(cache), ["ahead refused"]);
    t.match(await ask(cache), { result: "hit" }, "as fresh as it was");
    clock.advance(ttl);
    await t.rejects(ask(cache), { message: /absent|denied/ });
    t.equal(cache.upstream.count(ahead), 1);
  }
});

t.test("a registry whose HEAD names no digest is not asked by GET for nobody", async (t) => {
  const cache = await openRegular(t);
  cache.upstream.silentHead = true;
  await pass(due, cache);
  t.strictSame(cache.upstream.calls, [ahead]);
  t.strictSame(refreshes(cache), ["ahead refused"]);
});

t.test("when upstream fails the next client asks it, as without", async (t) => {
  const cache = await openRegular(t);
  cache.upstream.fault = () => {
    throw new UpstreamError("server_error", "by the test");
  };
  await pass(due, cache);
  t.strictSame(refreshes(cache), ["ahead failed"]);
  cache.upstream.fault = undefined;
  t.match(await ask(cache), { result: "hit" }, "fresh to the end");
  cache.clock.advance(ttl);
  t.match(await ask(cache), { result: "revalidated" }, "the failure is not held against the client");
});

t.test("while upstream is known to be away nothing is asked, and the stale record is served", async (t) => {
  const cache = await openRegular(t);
  cache.upstream.available = false;
  cache.upstream.fault = () => {
    throw new UpstreamError("circuit_open", "by the test");
  };
  await pass(2 * ttl, cache);
  t.strictSame(cache.upstream.calls, []);
  t.match(await ask(cache), { result: "stale" });
  t.strictSame(refreshes(cache), ["ahead failed"]);
});

t.test("an upstream that limits us is left alone for ten minutes", async (t) => {
  const cache = await openRegular(t);
  cache.upstream.fault = (call) => {
    if (call === ahead) throw new UpstreamError("rate_limited", "by the test", { retryAfter: 1 });
  };
  await poll(9, cache);
  t.equal(cache.upstream.count(ahead), 1);
  t.ok(cache.upstream.count(head) > 8, "clients go on asking");
  await poll(3, cache);
  t.equal(cache.upstream.count(ahead), 2);
  t.equal(refreshes(cache)[0], "ahead rate_limited");
});

t.test("only a share of what upstream allows is spent", async (t) => {
  for (const [refreshAhead, allowance, asks] of [
    [0.5, 1, true],
    [0.5, 0.51, true],
    [0.5, 0.5, false],
    [0.5, 0.01, false],
    [1, 0.01, true],
    [1, 0, false],
    [0.1, 0.91, true],
    [0.1, 0.9, false],
    [0, 1, false],
  ] as const) {
    const name = `share-${refreshAhead}-${allowance}`;
    const cache = await openRegular(t, { refreshAhead, name });
    cache.upstream.allowance = allowance;
    await poll(2, cache);
    t.equal(cache.upstream.count(ahead) > 0, asks, name);
    if (!asks && refreshAhead > 0) t.ok(refreshes(cache).includes("ahead rate_limited"), name);
  }
});

t.test("an upstream that wanted to be left alone for seconds is left alone for ten minutes", async (t) => {
  const cache = await openRegular(t);
  cache.upstream.allowance = 0;
  await poll(1, cache);
  cache.upstream.allowance = 1;
  await poll(8, cache);
  t.equal(cache.upstream.count(ahead), 0);
  await poll(4, cache);
  t.ok(cache.upstream.count(ahead) > 0);
});

t.test("a confirmation does not wait for a connection: it is tried again", async (t) => {
  const cache = await openRegular(t);
  cache.upstream.spare = false;
  for (let i = 0; i < 400 && refreshes(cache).length === 0; i++) await pass(250, cache);
  t.strictSame(cache.upstream.calls, []);
  t.strictSame(refreshes(cache), ["ahead busy"]);
  cache.upstream.spare = true;
  await pass(1_500, cache);
  t.strictSame(cache.upstream.calls, [ahead]);
  cache.upstream.spare = false;
  await pass(2 * ttl, cache);
  t.match(await ask(cache), { result: "revalidated" });
});

t.test("a client does not wait for a confirmation that upstream is slow to answer", async (t) => {
  const cache = await openRegular(t);
  const slow = gate();
  cache.upstream.fault = (call) => (call === ahead ? slow.opened : undefined);
  cache.clock.advance(due);
  const looked = cache.refreshAhead.look();
  await quiet();
  t.strictSame(cache.upstream.calls, [ahead]);
  t.match(await atOnce(ask(cache)), { result: "hit" });
  cache.clock.advance(ttl);
  t.match(await ask(cache), { result: "revalidated" }, "it asks by itself");
  slow.open();
  await looked;
  t.strictSame(cache.upstream.calls, [ahead, head]);
});

t.test("what was pushed while upstream was asked is not overwritten by its answer of before", async (t) => {
  const cache = await openRegular(t);
  const slow = gate();
  const { headManifest } = cache.upstream;
  cache.upstream.headManifest = async (...asked) => {
    const answer = await headManifest.apply(cache.upstream, asked);
    if (asked[2] === "background") await slow.opened;
    return answer;
  };
  cache.clock.advance(due);
  const looked = cache.refreshAhead.look();
  await quiet();
  push(cache, second);
  await cache.manifests.changed(remoteRepository(cache.upstream, app), { kind: "tag", tag }, "unsure");
  slow.open();
  await looked;
  t.match(await ask(cache), { digest: second.digest });
  t.strictSame(refreshes(cache), []);
});

t.test(
  "a tag that a webhook has named is not confirmed ahead: the next client asks, or the prefetch",
  async (t) => {
    const cache = await openRegular(t);
    await cache.manifests.changed(remoteRepository(cache.upstream, app), { kind: "tag", tag }, "unsure");
    await pass(ttl, cache);
    t.strictSame(cache.upstream.calls, []);
    t.match(await ask(cache), { result: "revalidated" });
  },
);

t.test("an upstream that answers its callers alone is not asked for nobody", async (t) => {
  for (const [kind, asks] of [
    ["none", false],
    ["basic", true],
  ] as const) {
    const upstreams = [
      { name: "up", access: "passthrough", auth: { kind }, tags: { ttl: undefined, rules: [] } },
    ] as never;
    const cache = await openRegular(t, { upstreams, name: `passthrough-${kind}` });
    await poll(2, cache);
    t.equal(cache.upstream.count(ahead) > 0, asks, kind);
  }
});

t.test("a restart begins anew", async (t) => {
  const before = await openRegular(t);
  const cache = restarted(before);
  await pass(3 * ttl, cache);
  t.strictSame(cache.upstream.calls, []);
  t.match(await ask(cache), { result: "revalidated" });
});

// ---- several nodes ----------------------------------------------------------------------------------------------

async function twoNodes(t: Test) {
  const shared = new MemoryShared();
  const upstream = new MemoryUpstream();
  const common = { shared, upstream, remembered: true } as const;
  const here = await openCache(t, { ...common, name: "here", address: "http://192.0.2.1:5000" });
  const there = await openCache(t, { ...common, name: "there", address: "http://192.0.2.2:5000" });
  push(here, first);
  return { shared, upstream, here, there };
}

t.test("one of two nodes confirms a tag that clients of both ask for", async (t) => {
  const { upstream, here, there } = await twoNodes(t);
  await poll(4, here, there);
  upstream.calls.length = 0;
  t.strictSame([...new Set(await poll(30, here, there))], ["hit"]);
  t.strictSame([...new Set(upstream.calls)], [ahead]);
  t.ok(
    upstream.calls.length >= 30 && upstream.calls.length <= 34,
    `${upstream.calls.length} HEADs in 30 TTLs`,
  );
  t.ok([...refreshes(here), ...refreshes(there)].includes("ahead elsewhere"));
});

t.test("a tag that another node is confirming is not asked about twice", async (t) => {
  const { shared, upstream, here, there } = await twoNodes(t);
  await poll(4, here, there);
  upstream.calls.length = 0;
  const other = shared.node("http://192.0.2.3:5000");
  const { lease } = (await other.leases.acquire(`tag:up/${app}:${tag}`)) as {
    lease: { release(): Promise<void> };
  };
  await poll(2, here, there);
  t.equal(upstream.count(ahead), 0);
  await lease.release();
  await poll(2, here, there);
  t.ok(upstream.count(ahead) > 0);
});

t.test("without what is shared each node confirms for itself", async (t) => {
  const { shared, upstream, here, there } = await twoNodes(t);
  await poll(4, here, there);
  shared.working = false;
  // What one of them had not read before is asked for once.
  await poll(1, here, there);
  upstream.calls.length = 0;
  t.strictSame([...new Set(await poll(4, here, there))], ["hit"]);
  t.ok(upstream.calls.length >= 8, `${upstream.calls.length}`);
});
