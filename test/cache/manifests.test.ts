// Tags: fresh, revalidated, moved; how long they are, and asked for once however many ask.
import t from "tap";
import { openHouse } from "../fixtures/cache-house.ts";
import { makeIndex } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { tagOf } from "../fixtures/memory-upstream.ts";
import {
  app,
  failWith,
  first,
  openTag,
  other,
  push,
  record,
  resolvedHouse,
  second,
  summary,
  tag,
  tagGives,
  ttl,
} from "../fixtures/tag-house.ts";

// ---- upstream answers -------------------------------------------------------------------------------------------

t.test("a cold tag is fetched, stored, linked and recorded", async (t) => {
  const house = await openHouse(t);
  push(house, first);
  t.same(summary(t, await openTag(house), first), {
    kind: "found",
    result: "miss",
    source: "upstream:up",
    age: 0,
  });
  t.same(house.upstream.calls, [`GET manifest team/app ${tag}`]);
  t.same(await record(house), {
    digest: first.digest,
    mediaType: first.mediaType,
    size: first.manifest.length,
    checkedAt: house.clock.now,
  });
  t.same(house.index.blobs.get(first.digest), {
    size: first.manifest.length,
    mediaType: first.mediaType,
    checkedAt: house.clock.now,
  });
  for (const digest of [first.digest, first.config.digest, ...first.layers.map((layer) => layer.digest)])
    t.ok(await house.access.named(house.upstream, app, digest), "a manifest of this repository names it");
  t.notOk(await house.access.linked(house.upstream, other, first.digest));
  t.equal(await house.index.links.statedSize("up", "team/app" as never, first.digest), first.manifest.length);
  t.equal(
    await house.index.links.statedSize("up", "team/app" as never, first.layers[0]?.digest as never),
    10,
  );
  t.equal(house.index.blobs.manifestsNaming(first.config.digest), 1);
});

t.test("a fresh tag needs no upstream; its age grows", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl - 1);
  t.same(summary(t, await openTag(house), first), {
    kind: "found",
    result: "hit",
    source: "memory",
    age: ttl - 1,
    freshFor: 1,
  });
  t.same(house.upstream.calls, []);
});

t.test("an expired tag that has not moved costs a HEAD, and is fresh again", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl);
  t.same(summary(t, await openTag(house), first), {
    kind: "found",
    result: "revalidated",
    source: "memory",
    age: 0,
    outdated: true,
  });
  t.same(house.upstream.calls, [`HEAD manifest team/app ${tag}`]);
  t.equal((await record(house))?.checkedAt, house.clock.now);
  house.clock.advance(ttl - 1);
  await tagGives(t, house, first, "hit", ttl - 1);
  t.equal(house.upstream.calls.length, 1);
});

t.test("a tag that has moved is fetched by the digest HEAD named", async (t) => {
  const house = await resolvedHouse(t);
  push(house, second);
  await tagGives(t, house, first, "hit");
  house.clock.advance(ttl);
  await tagGives(t, house, second, "miss");
  t.same(house.upstream.calls, [`HEAD manifest team/app ${tag}`, `GET manifest team/app ${second.digest}`]);
  t.equal((await record(house))?.digest, second.digest);
  t.ok(await house.access.named(house.upstream, app, second.config.digest));
});

t.test("a tag that has moved to what another repository brought here costs a HEAD, and links", async (t) => {
  const house = await resolvedHouse(t);
  push(house, second, other);
  await house.manifests.open(house.upstream, other, { kind: "tag", tag });
  house.upstream.calls.length = 0;
  push(house, second);
  house.clock.advance(ttl);
  await tagGives(t, house, second, "revalidated");
  t.equal(house.upstream.calls.length, 1);
  for (const digest of [second.digest, second.config.digest, second.layers[0]?.digest as never])
    t.ok(await house.access.named(house.upstream, app, digest));
  await tagGives(t, house, second, "hit");
});

t.test("a tag that has not moved is not linked again", async (t) => {
  const house = await resolvedHouse(t);
  await house.access.unlink(house.upstream, app, first.config.digest);
  house.clock.advance(ttl);
  await tagGives(t, house, first, "revalidated");
  t.notOk(await house.access.named(house.upstream, app, first.config.digest), "one write less for each HEAD");
});

t.test("a tag that moves on while it is asked for is fetched by name in the end", async (t) => {
  const house = await resolvedHouse(t);
  push(house, second);
  house.upstream.remove("team/app", second.digest);
  house.clock.advance(ttl);
  await tagGives(t, house, second, "miss");
  t.same(house.upstream.calls, [
    `HEAD manifest team/app ${tag}`,
    `GET manifest team/app ${second.digest}`,
    `GET manifest team/app ${tag}`,
  ]);
});

t.test("a denied digest is not asked for by name", async (t) => {
  const house = await resolvedHouse(t);
  push(house, second);
  house.clock.advance(ttl);
  house.upstream.fault = (call) => {
    if (call.startsWith("GET")) house.upstream.deny("team/app");
  };
  t.same(await openTag(house), { kind: "denied" });
  t.equal(house.upstream.calls.length, 2);
});

t.test("a registry that names no digests is asked for the body", async (t) => {
  const house = await openHouse(t);
  house.upstream.silentHead = true;
  push(house, first);
  await tagGives(t, house, first, "miss");
  house.clock.advance(ttl);
  await tagGives(t, house, first, "miss");
  t.same(house.upstream.calls, [
    `GET manifest team/app ${tag}`,
    `HEAD manifest team/app ${tag}`,
    `GET manifest team/app ${tag}`,
  ]);
});

t.test("a fresh tag whose manifest is gone is fetched, not answered without a body", async (t) => {
  const house = await resolvedHouse(t);
  house.local.forget(first.digest);
  await house.store.delete(first.digest);
  house.index.blobs.remove(first.digest);
  await tagGives(t, house, first, "miss");
  t.equal(house.upstream.count("GET manifest"), 1);
  await tagGives(t, house, first, "hit");
});

t.test("the type in the answer may be missing; the body's own then counts", async (t) => {
  const house = await openHouse(t);
  house.upstream.addManifest("team/app", tag, first.manifest, undefined);
  await tagGives(t, house, first, "miss");
});

// ---- how long ---------------------------------------------------------------------------------------------------

t.test("rules and signature tags have times of their own", async (t) => {
  const house = await openHouse(t, {
    freshness: {
      rules: [
        { match: "team/app:forever", ttl: Number.POSITIVE_INFINITY },
        { match: "**", ttl: 100 },
      ],
    },
  });
  const names = ["forever", "any", `sha256-${"0".repeat(64)}.sig`].map(tagOf);
  for (const name of names) {
    push(house, first, app, name);
    await openTag(house, name);
  }
  house.upstream.calls.length = 0;
  for (const name of names) await openTag(house, name);
  t.same(house.upstream.calls, [`HEAD manifest team/app ${names[2]}`], "a signature may come at any time");
  house.clock.advance(1e12);
  for (const name of names) await openTag(house, name);
  t.equal(house.upstream.count("HEAD manifest team/app forever"), 0);
  t.equal(house.upstream.count("HEAD manifest team/app any"), 1);
});

t.test("a clock that goes back keeps no tag for ever", async (t) => {
  const house = await resolvedHouse(t);
  push(house, second);
  house.clock.advance(1 - ttl);
  await tagGives(t, house, first, "hit");
  house.clock.advance(-1e10);
  await tagGives(t, house, second, "miss");
  t.equal((await record(house))?.checkedAt, house.clock.now, "the record from the future is replaced");
  await tagGives(t, house, second, "hit");
  t.equal(house.upstream.count("HEAD"), 1);
});

t.test(
  "a record from the future is served while upstream fails, as one that is just not fresh any more",
  async (t) => {
    const house = await resolvedHouse(t);
    house.clock.advance(-1e10);
    failWith(house, "unreachable");
    await tagGives(t, house, first, "stale", ttl);
  },
);

t.test("another node's newer record is not overwritten", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl);
  const held = gate();
  house.upstream.fault = () => held.opened;
  const opening = openTag(house);
  await eventually("upstream is asked", () => house.upstream.calls.length === 1);
  const newer = {
    digest: second.digest,
    mediaType: second.mediaType,
    size: second.manifest.length,
    checkedAt: house.clock.now + 500,
  };
  await house.index.tags.put("up", app, tag, newer);
  held.open();
  t.match(summary(t, await opening, first), { result: "revalidated" });
  t.same(await record(house), newer);
});

// ---- together ---------------------------------------------------------------------------------------------------

t.test("fifty at the same time ask once, cold and expired", async (t) => {
  const house = await openHouse(t);
  push(house, first);
  for (const [leader, calls] of [
    ["miss", 1],
    ["revalidated", 2],
  ] as const) {
    const held = gate();
    house.upstream.fault = () => held.opened;
    const opening = Array.from({ length: 50 }, () => openTag(house));
    await eventually("upstream is asked", () => house.upstream.calls.length === calls);
    await quiet();
    held.open();
    const results = (await Promise.all(opening)).map((opened) => summary(t, opened, first).result);
    t.equal(results.filter((result) => result === leader).length, 1);
    t.equal(results.filter((result) => result === "joined").length, 49);
    t.equal(house.upstream.calls.length, calls);
    house.clock.advance(ttl);
  }
});

t.test("fifty at the same time fail together, and are served stale together", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl);
  failWith(house, "timeout");
  const opened = await Promise.all(Array.from({ length: 50 }, () => openTag(house)));
  t.ok(opened.every((each) => summary(t, each, first).result === "stale"));
  t.equal(house.upstream.calls.length, 1);
});

t.test("other tags, repositories and upstreams are asked apart", async (t) => {
  const house = await openHouse(t);
  push(house, first);
  push(house, second, other);
  push(house, second, app, tagOf("2.0"));
  const { manifests, upstream } = house;
  const opened = await Promise.all([
    openTag(house),
    manifests.open(upstream, other, { kind: "tag", tag }),
    openTag(house, tagOf("2.0")),
  ]);
  t.same(
    opened.map((each) => each.kind === "found" && each.result),
    ["miss", "miss", "miss"],
  );
});

t.test(
  "an index of images does not make them readable; asking for one of them links it and its parts",
  async (t) => {
    const house = await openHouse(t);
    const index = makeIndex([first, second]);
    house.upstream.addManifest("team/app", tag, index.manifest, index.mediaType);
    house.upstream.addManifest("team/app", undefined, first.manifest, first.mediaType);
    await openTag(house);
    t.notOk(await house.access.linked(house.upstream, app, first.digest));
    await house.manifests.open(house.upstream, app, { kind: "digest", digest: first.digest });
    t.ok(await house.access.linked(house.upstream, app, first.digest));
    t.ok(await house.access.named(house.upstream, app, first.config.digest));
  },
);
