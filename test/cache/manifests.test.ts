// Tags: fresh, revalidated, moved; how long they are, and asked for once however many ask.
import t from "tap";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { openCache } from "../fixtures/cache-fixture.ts";
import { makeIndex } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { tagOf } from "../fixtures/memory-upstream.ts";
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
  summary,
  tag,
  tagGives,
  ttl,
} from "../fixtures/tag-fixture.ts";

// ---- upstream answers -------------------------------------------------------------------------------------------

t.test("a cold tag is fetched, stored, linked and recorded", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  t.same(summary(t, await openTag(cache), first), {
    kind: "found",
    result: "miss",
    source: "upstream:up",
    age: 0,
  });
  t.same(cache.upstream.calls, [`GET manifest team/app ${tag}`]);
  t.same(await record(cache), {
    digest: first.digest,
    mediaType: first.mediaType,
    size: first.manifest.length,
    checkedAt: cache.clock.now,
  });
  t.same(cache.index.blobs.get(first.digest), {
    size: first.manifest.length,
    mediaType: first.mediaType,
    checkedAt: cache.clock.now,
  });
  for (const digest of [first.digest, first.config.digest, ...first.layers.map((layer) => layer.digest)])
    t.ok(
      await cache.access.named(remoteRepository(cache.upstream, app), digest),
      "a manifest of this repository names it",
    );
  t.notOk(await cache.access.linked(remoteRepository(cache.upstream, other), first.digest));
  t.equal(
    await cache.index.links.statedSize({ upstream: "up", repository: "team/app" as never }, first.digest),
    first.manifest.length,
  );
  t.equal(
    await cache.index.links.statedSize(
      { upstream: "up", repository: "team/app" as never },
      first.layers[0]?.digest as never,
    ),
    10,
  );
  t.equal(cache.index.blobs.manifestsNaming(first.config.digest), 1);
});

t.test("a fresh tag needs no upstream; its age grows", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl - 1);
  t.same(summary(t, await openTag(cache), first), {
    kind: "found",
    result: "hit",
    source: "memory",
    age: ttl - 1,
    freshFor: 1,
  });
  t.same(cache.upstream.calls, []);
});

t.test(
  "a fresh tag in memory is answered at once; one that is due or expired is confirmed first",
  async (t) => {
    const cache = await openResolvedTag(t, { remembered: true });
    await openTag(cache);
    const remote = remoteRepository(cache.upstream, app);
    const open = (confirmAfter?: number) =>
      cache.manifests.openAtOnce(remote, { kind: "tag", tag }, confirmAfter);
    const opened = open();
    if (opened instanceof Promise) throw new Error("a promise");
    t.match(summary(t, opened, first), { result: "hit", source: "memory", age: 0, freshFor: ttl });
    t.same(cache.upstream.calls, []);
    cache.clock.advance(10);
    t.match(summary(t, await open(9), first), { result: "revalidated" });
    cache.clock.advance(ttl);
    t.match(summary(t, await open(), first), { result: "revalidated" });
  },
);

t.test("an expired tag that has not moved costs a HEAD, and is fresh again", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl);
  t.same(summary(t, await openTag(cache), first), {
    kind: "found",
    result: "revalidated",
    source: "memory",
    age: 0,
    outdated: true,
  });
  t.same(cache.upstream.calls, [`HEAD manifest team/app ${tag}`]);
  t.equal((await record(cache))?.checkedAt, cache.clock.now);
  cache.clock.advance(ttl - 1);
  await tagGives(t, cache, first, "hit", ttl - 1);
  t.equal(cache.upstream.calls.length, 1);
});

t.test("a tag that has moved is fetched by the digest HEAD named", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, second);
  await tagGives(t, cache, first, "hit");
  cache.clock.advance(ttl);
  await tagGives(t, cache, second, "miss");
  t.same(cache.upstream.calls, [`HEAD manifest team/app ${tag}`, `GET manifest team/app ${second.digest}`]);
  t.equal((await record(cache))?.digest, second.digest);
  t.ok(await cache.access.named(remoteRepository(cache.upstream, app), second.config.digest));
});

t.test("a tag that has moved to what another repository brought here costs a HEAD, and links", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, second, other);
  await cache.manifests.open(remoteRepository(cache.upstream, other), { kind: "tag", tag });
  cache.upstream.calls.length = 0;
  push(cache, second);
  cache.clock.advance(ttl);
  await tagGives(t, cache, second, "revalidated");
  t.equal(cache.upstream.calls.length, 1);
  for (const digest of [second.digest, second.config.digest, second.layers[0]?.digest as never])
    t.ok(await cache.access.named(remoteRepository(cache.upstream, app), digest));
  await tagGives(t, cache, second, "hit");
});

t.test("a tag that has not moved is not linked again", async (t) => {
  const cache = await openResolvedTag(t);
  await cache.access.unlink(remoteRepository(cache.upstream, app), first.config.digest);
  cache.clock.advance(ttl);
  await tagGives(t, cache, first, "revalidated");
  t.notOk(
    await cache.access.named(remoteRepository(cache.upstream, app), first.config.digest),
    "one write less for each HEAD",
  );
});

t.test("a tag that moves on while it is asked for is fetched by name in the end", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, second);
  cache.upstream.remove("team/app", second.digest);
  cache.clock.advance(ttl);
  await tagGives(t, cache, second, "miss");
  t.same(cache.upstream.calls, [
    `HEAD manifest team/app ${tag}`,
    `GET manifest team/app ${second.digest}`,
    `GET manifest team/app ${tag}`,
  ]);
});

t.test("a denied digest is not asked for by name", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, second);
  cache.clock.advance(ttl);
  cache.upstream.fault = (call) => {
    if (call.startsWith("GET")) cache.upstream.deny("team/app");
  };
  t.same(await openTag(cache), { kind: "denied" });
  t.equal(cache.upstream.calls.length, 2);
});

t.test("a registry that names no digests is asked for the body", async (t) => {
  const cache = await openCache(t);
  cache.upstream.silentHead = true;
  push(cache, first);
  await tagGives(t, cache, first, "miss");
  cache.clock.advance(ttl);
  await tagGives(t, cache, first, "miss");
  t.same(cache.upstream.calls, [
    `GET manifest team/app ${tag}`,
    `HEAD manifest team/app ${tag}`,
    `GET manifest team/app ${tag}`,
  ]);
});

t.test("a fresh tag whose manifest is gone is fetched, not answered without a body", async (t) => {
  const cache = await openResolvedTag(t);
  cache.local.forget(first.digest);
  await cache.store.delete(first.digest);
  cache.index.blobs.remove(first.digest);
  await tagGives(t, cache, first, "miss");
  t.equal(cache.upstream.count("GET manifest"), 1);
  await tagGives(t, cache, first, "hit");
});

t.test("the type in the answer may be missing; the body's own then counts", async (t) => {
  const cache = await openCache(t);
  cache.upstream.addManifest("team/app", tag, first.manifest, undefined);
  await tagGives(t, cache, first, "miss");
});

// ---- how long ---------------------------------------------------------------------------------------------------

t.test("rules and signature tags have times of their own", async (t) => {
  const cache = await openCache(t, {
    freshness: {
      rules: [
        { match: "team/app:forever", ttl: Number.POSITIVE_INFINITY },
        { match: "**", ttl: 100 },
      ],
    },
  });
  const names = ["forever", "any", `sha256-${"0".repeat(64)}.sig`].map(tagOf);
  for (const name of names) {
    push(cache, first, app, name);
    await openTag(cache, name);
  }
  cache.upstream.calls.length = 0;
  for (const name of names) await openTag(cache, name);
  t.same(cache.upstream.calls, [`HEAD manifest team/app ${names[2]}`], "a signature may come at any time");
  cache.clock.advance(1e12);
  for (const name of names) await openTag(cache, name);
  t.equal(cache.upstream.count("HEAD manifest team/app forever"), 0);
  t.equal(cache.upstream.count("HEAD manifest team/app any"), 1);
});

t.test("a clock that goes back keeps no tag for ever", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, second);
  cache.clock.advance(1 - ttl);
  await tagGives(t, cache, first, "hit");
  cache.clock.advance(-1e10);
  await tagGives(t, cache, second, "miss");
  t.equal((await record(cache))?.checkedAt, cache.clock.now, "the record from the future is replaced");
  await tagGives(t, cache, second, "hit");
  t.equal(cache.upstream.count("HEAD"), 1);
});

t.test(
  "a record from the future is served while upstream fails, as one that is just not fresh any more",
  async (t) => {
    const cache = await openResolvedTag(t);
    cache.clock.advance(-1e10);
    failWith(cache, "unreachable");
    await tagGives(t, cache, first, "stale", ttl);
  },
);

t.test("another node's newer record is not overwritten", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl);
  const held = gate();
  cache.upstream.fault = () => held.opened;
  const opening = openTag(cache);
  await eventually("upstream is asked", () => cache.upstream.calls.length === 1);
  const newer = {
    digest: second.digest,
    mediaType: second.mediaType,
    size: second.manifest.length,
    checkedAt: cache.clock.now + 500,
  };
  await cache.index.tags.put({ upstream: "up", repository: app }, tag, newer);
  held.open();
  t.match(summary(t, await opening, first), { result: "revalidated" });
  t.same(await record(cache), newer);
});

// ---- together ---------------------------------------------------------------------------------------------------

t.test("fifty at the same time ask once, cold and expired", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  for (const [leader, calls] of [
    ["miss", 1],
    ["revalidated", 2],
  ] as const) {
    const held = gate();
    cache.upstream.fault = () => held.opened;
    const opening = Array.from({ length: 50 }, () => openTag(cache));
    await eventually("upstream is asked", () => cache.upstream.calls.length === calls);
    await quiet();
    held.open();
    const results = (await Promise.all(opening)).map((opened) => summary(t, opened, first).result);
    t.equal(results.filter((result) => result === leader).length, 1);
    t.equal(results.filter((result) => result === "joined").length, 49);
    t.equal(cache.upstream.calls.length, calls);
    cache.clock.advance(ttl);
  }
});

t.test("fifty at the same time fail together, and are served stale together", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl);
  failWith(cache, "timeout");
  const opened = await Promise.all(Array.from({ length: 50 }, () => openTag(cache)));
  t.ok(opened.every((each) => summary(t, each, first).result === "stale"));
  t.equal(cache.upstream.calls.length, 1);
});

t.test("other tags, repositories and upstreams are asked apart", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  push(cache, second, other);
  push(cache, second, app, tagOf("2.0"));
  const { manifests, upstream } = cache;
  const opened = await Promise.all([
    openTag(cache),
    manifests.open(remoteRepository(upstream, other), { kind: "tag", tag }),
    openTag(cache, tagOf("2.0")),
  ]);
  t.same(
    opened.map((each) => each.kind === "found" && each.result),
    ["miss", "miss", "miss"],
  );
});

t.test(
  "an index of images does not make them readable; asking for one of them links it and its parts",
  async (t) => {
    const cache = await openCache(t);
    const index = makeIndex([first, second]);
    cache.upstream.addManifest("team/app", tag, index.manifest, index.mediaType);
    cache.upstream.addManifest("team/app", undefined, first.manifest, first.mediaType);
    await openTag(cache);
    t.notOk(await cache.access.linked(remoteRepository(cache.upstream, app), first.digest));
    await cache.manifests.open(remoteRepository(cache.upstream, app), {
      kind: "digest",
      digest: first.digest,
    });
    t.ok(await cache.access.linked(remoteRepository(cache.upstream, app), first.digest));
    t.ok(await cache.access.named(remoteRepository(cache.upstream, app), first.config.digest));
  },
);
