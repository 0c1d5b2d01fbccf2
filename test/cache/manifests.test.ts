// Tags: fresh, revalidated, moved, stale while upstream fails, and gone when it says so.
import t, { type Test } from "tap";
import type { ManifestOpened, OpenedManifest } from "../../src/cache/manifests.ts";
import { StoreError, UpstreamError, type UpstreamErrorCode } from "../../src/cache/ports.ts";
import { type House, type HouseOptions, noticesOf, openHouse } from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { type Image, makeImage, makeIndex } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { repo, sha256, tagOf } from "../fixtures/memory-upstream.ts";

const app = repo("team/app");
const other = repo("team/other");
const tag = tagOf("1.0");
const ttl = 60_000;
const bridged = 3_600_000;
const first = makeImage({ layers: [10], seed: "first" });
const second = makeImage({ layers: [10], seed: "second" });

function push(
  { upstream }: House,
  image: Image,
  repository: string = app,
  name: string | undefined = tag,
): void {
  upstream.addManifest(repository, name, image.manifest, image.mediaType);
}

function openTag({ manifests, upstream }: House, name = tag): Promise<ManifestOpened> {
  return manifests.open(upstream, app, { kind: "tag", tag: name });
}

/** What was found, without the body, which is compared with that of `image`. */
function summary(t: Test, opened: ManifestOpened, image: Image) {
  if (opened.kind !== "found") throw new Error(opened.kind);
  const { body, digest, mediaType, ...rest } = opened as OpenedManifest;
  t.ok(body.equals(image.manifest), "the very bytes");
  t.same([digest, mediaType], [image.digest, image.mediaType]);
  return rest;
}

async function tagGives(t: Test, house: House, image: Image, result: string, age = 0): Promise<void> {
  t.match(summary(t, await openTag(house), image), { kind: "found", result, age });
}

/** A house that has resolved the tag to `first` once, its upstream's record of calls empty. */
async function resolvedHouse(t: Test, options: HouseOptions = {}): Promise<House> {
  const house = await openHouse(t, options);
  push(house, first);
  await openTag(house);
  house.upstream.calls.length = 0;
  return house;
}

function failWith({ upstream }: House, code: UpstreamErrorCode): UpstreamError {
  const error = new UpstreamError(code, "by the test");
  upstream.fault = () => {
    throw error;
  };
  return error;
}

function record({ index }: House) {
  return index.tags.get("up", app, tag);
}

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
  t.same(house.index.blobs.get(first.digest), { size: first.manifest.length, mediaType: first.mediaType });
  for (const digest of [first.digest, first.config.digest, ...first.layers.map((layer) => layer.digest)])
    t.ok(
      await house.access.linked(house.upstream, app, digest),
      "the image is readable through this repository",
    );
  t.notOk(await house.access.linked(house.upstream, other, first.digest));
  t.equal(await house.index.links.statedSize(first.digest), first.manifest.length);
  t.equal(await house.index.links.statedSize(first.layers[0]?.digest as never), 10);
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
  t.ok(await house.access.linked(house.upstream, app, second.config.digest));
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
    t.ok(await house.access.linked(house.upstream, app, digest));
  await tagGives(t, house, second, "hit");
});

t.test("a tag that has not moved is not linked again", async (t) => {
  const house = await resolvedHouse(t);
  await house.access.unlink(house.upstream, app, first.config.digest);
  house.clock.advance(ttl);
  await tagGives(t, house, first, "revalidated");
  t.notOk(
    await house.access.linked(house.upstream, app, first.config.digest),
    "one write less for each HEAD",
  );
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

t.test("a record from the future is served while upstream fails, and its age is 0", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(-1e10);
  failWith(house, "unreachable");
  await tagGives(t, house, first, "stale");
});

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

// ---- upstream fails ---------------------------------------------------------------------------------------------

const codes = [
  "unreachable",
  "timeout",
  "auth",
  "rate_limited",
  "server_error",
  "protocol",
  "truncated",
  "range_refused",
  "digest_mismatch",
  "too_large",
] as const satisfies readonly UpstreamErrorCode[];

for (const code of codes)
  t.test(`${code}: the stale record is served within its bound, the error beyond it`, async (t) => {
    const house = await resolvedHouse(t);
    const error = failWith(house, code);
    const age = ttl + bridged - 1;
    house.clock.advance(age);
    await tagGives(t, house, first, "stale", age);
    t.same(house.notices.at(-1), {
      kind: "stale_served",
      upstream: "up",
      repository: "team/app",
      tag,
      ageMs: age,
      reason: code,
    });
    house.clock.advance(1);
    await t.rejects(openTag(house), error);
    t.equal(noticesOf(house, "stale_served").length, 1);
    t.equal((await record(house))?.digest, first.digest, "the record stays for when upstream is back");
  });

t.test("a cold tag has nothing to be served from, and each request asks", async (t) => {
  const house = await openHouse(t);
  const error = failWith(house, "unreachable");
  for (const _ of [1, 2]) await t.rejects(openTag(house), error);
  t.equal(house.upstream.calls.length, 2);
});

t.test("a stale manifest that is gone cannot be served", async (t) => {
  const house = await resolvedHouse(t);
  house.local.forget(first.digest);
  await house.store.delete(first.digest);
  house.clock.advance(ttl);
  const error = failWith(house, "timeout");
  await t.rejects(openTag(house), error);
});

t.test("what is not upstream's failure is not covered up by a stale record", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl);
  house.upstream.fault = () => {
    throw new TypeError("a mistake of ours");
  };
  for (const _ of [1, 2]) await t.rejects(openTag(house), { name: "TypeError" });
  t.equal(house.upstream.calls.length, 2, "nor remembered");
  t.same(noticesOf(house, "stale_served"), []);
});

t.test(
  "a failure is remembered for 3 to 4.5 s: the stale record answers at once, then upstream is asked again",
  async (t) => {
    const house = await resolvedHouse(t);
    house.clock.advance(ttl);
    failWith(house, "server_error");
    await tagGives(t, house, first, "stale", ttl);
    t.equal(house.upstream.calls.length, 1);
    house.clock.advance(3_000);
    await tagGives(t, house, first, "stale", ttl + 3_000);
    t.equal(house.upstream.calls.length, 1);
    t.match(
      noticesOf(house, "stale_served").map(({ reason }) => reason),
      ["server_error", "server_error"],
    );
    house.clock.advance(1_501);
    await tagGives(t, house, first, "stale", ttl + 4_501);
    t.equal(house.upstream.calls.length, 2);
    house.clock.advance(4_501);
    house.upstream.fault = undefined;
    push(house, second);
    await tagGives(t, house, second, "miss");
  },
);

t.test("the memory of a failure is the tag's own", async (t) => {
  const house = await resolvedHouse(t);
  const latest = tagOf("latest");
  push(house, second, app, latest);
  await openTag(house, latest);
  house.clock.advance(ttl);
  failWith(house, "timeout");
  await tagGives(t, house, first, "stale", ttl);
  house.upstream.fault = undefined;
  t.match(summary(t, await openTag(house, latest), second), { result: "revalidated" });
});

t.test("success forgets the failure", async (t) => {
  const house = await resolvedHouse(t, { freshness: { ttl: 0 } });
  house.clock.advance(bridged - 1);
  failWith(house, "timeout");
  await tagGives(t, house, first, "stale", bridged - 1);
  house.clock.advance(1);
  // Too old to be served stale, so upstream is asked whatever is remembered.
  house.upstream.fault = undefined;
  await tagGives(t, house, first, "revalidated");
  await tagGives(t, house, first, "revalidated");
});

t.test("slow to confirm: stale after 1 s, and the record is refreshed behind", async (t) => {
  const house = await resolvedHouse(t);
  push(house, second);
  house.clock.advance(ttl);
  const slow = gate();
  house.upstream.fault = () => slow.opened;
  const opening = openTag(house);
  await eventually("it waits", () => house.time.waiting === 1);
  t.same(house.time.asked, [1_000]);
  house.time.elapse();
  t.match(summary(t, await opening, first), { result: "stale", age: ttl });
  t.equal(noticesOf(house, "stale_served")[0]?.reason, "timeout");
  await tagGives(t, house, first, "stale", ttl);
  t.equal(house.time.waiting, 0, "the next one does not wait for the same question");
  t.equal(house.upstream.calls.length, 1);
  slow.open();
  for (let moved = false; !moved; await quiet(1)) {
    const opened = await openTag(house);
    moved = opened.kind === "found" && opened.digest === second.digest;
  }
  await tagGives(t, house, second, "hit");
  t.equal(house.upstream.calls.length, 2);
});

t.test("slow to fail: nothing is left unhandled, and the failure is remembered", async (t) => {
  const house = await resolvedHouse(t);
  house.clock.advance(ttl);
  const slow = gate();
  const { upstream } = house;
  upstream.fault = async () => {
    await slow.opened;
    throw new UpstreamError("server_error", "by the test");
  };
  const opening = openTag(house);
  await eventually("it waits", () => house.time.waiting === 1);
  house.time.elapse();
  t.match(summary(t, await opening, first), { result: "stale" });
  slow.open();
  await quiet();
  await tagGives(t, house, first, "stale", ttl);
  t.equal(upstream.calls.length, 1);
  t.equal(noticesOf(house, "stale_served").at(-1)?.reason, "server_error");
});

t.test("without a record to fall back on there is no hurry", async (t) => {
  const house = await openHouse(t);
  push(house, first);
  await openTag(house);
  house.clock.advance(ttl + bridged);
  await tagGives(t, house, first, "revalidated");
  t.same(house.time.asked, []);
});

// ---- upstream says no -------------------------------------------------------------------------------------------

t.test("absent and denied are authoritative: the record goes and nothing stale is served", async (t) => {
  for (const kind of ["absent", "denied"] as const)
    await t.test(kind, async (t) => {
      const house = await resolvedHouse(t);
      if (kind === "absent") house.upstream.remove("team/app", tag);
      else house.upstream.deny("team/app");
      await tagGives(t, house, first, "hit");
      house.clock.advance(ttl);
      t.same(await openTag(house), { kind });
      t.equal(await record(house), undefined);
      failWith(house, "unreachable");
      await t.rejects(openTag(house), { code: "unreachable" });
      t.same(noticesOf(house, "stale_served"), []);
    });
});

t.test("a cold tag that upstream does not have leaves nothing", async (t) => {
  const house = await openHouse(t);
  t.same(await openTag(house), { kind: "absent" });
  t.equal(await record(house), undefined);
  t.equal(house.store.spools, 0);
  push(house, first);
  await tagGives(t, house, first, "miss");
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

// ---- what cannot be used ----------------------------------------------------------------------------------------

t.test("a body that is not what was announced is refused, and nothing is stored", async (t) => {
  const house = await openHouse(t);
  house.upstream.addManifest("team/app", tag, first.manifest, first.mediaType, second.digest);
  await t.rejects(openTag(house), {
    name: "UpstreamError",
    code: "digest_mismatch",
    message: `upstream sent a manifest with digest ${first.digest} for ${second.digest}`,
  });
  t.equal(house.store.spools, 0);
  t.equal(await record(house), undefined);
  t.notOk(await house.access.linked(house.upstream, app, second.digest));
});

t.test("a body that can be read in two ways, or in none, is refused, stale or not", async (t) => {
  const ambiguous = Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}');
  for (const [body, says] of [
    [ambiguous, "ambiguous"],
    [Buffer.from("<html>"), "not_json"],
  ] as const)
    await t.test(says, async (t) => {
      const house = await openHouse(t);
      const type = "application/vnd.oci.image.index.v1+json";
      house.upstream.addManifest("team/app", tag, body, type);
      await t.rejects(openTag(house), {
        code: "protocol",
        message: `upstream's manifest ${sha256(body)} cannot be used: ${says}`,
      });
      t.equal(house.store.spools, 0);
      push(house, first);
      await tagGives(t, house, first, "miss");
      house.upstream.addManifest("team/app", tag, body, type);
      house.clock.advance(ttl);
      await tagGives(t, house, first, "stale", ttl);
    });
});

// ---- stores fail ------------------------------------------------------------------------------------------------

t.test("a tag store that fails costs a question each time, and each failure is a notice", async (t) => {
  const house = await openHouse(t);
  push(house, first);
  const failure = new StoreError("unavailable", "no redis");
  for (const method of ["get", "put"] as const) house.faults.tags.set(method, failure);
  for (const _ of [1, 2]) await tagGives(t, house, first, "miss");
  t.same(
    noticesOf(house, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["tags.get unavailable", "tags.put unavailable", "tags.get unavailable", "tags.put unavailable"],
  );
  house.faults.tags.clear();
  house.faults.tags.set("delete", failure);
  house.upstream.remove("team/app", tag);
  t.same(await openTag(house), { kind: "absent" });
  t.equal(noticesOf(house, "store_error").at(-1)?.op, "tags.delete");
});

t.test("a blob store that fails at the put: the manifest is served, later from memory", async (t) => {
  const house = await openHouse(t);
  push(house, first);
  house.store.faults.set("create", failing("no_space"));
  await tagGives(t, house, first, "miss");
  t.same(summary(t, await openTag(house), first), { kind: "found", result: "hit", source: "memory", age: 0 });
  t.equal(house.upstream.calls.length, 1);
  t.match(noticesOf(house, "store_error"), [{ op: "put_manifest", code: "no_space" }]);
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
    t.ok(await house.access.linked(house.upstream, app, first.config.digest));
  },
);
