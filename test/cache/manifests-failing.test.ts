// Tags while something fails: stale for as long as upstream cannot say, gone when it says no, and what cannot be used
// is refused.
import t from "tap";
import { StoreError } from "../../src/ports/blobs.ts";
import { remoteRepository, UpstreamError, type UpstreamErrorCode } from "../../src/ports/upstream.ts";
import { noticesOf, openCache } from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { sha256, tagOf } from "../fixtures/memory-upstream.ts";
import {
  app,
  bridged,
  failWith,
  first,
  openResolvedTag,
  openTag,
  push,
  record,
  second,
  summary,
  tag,
  tagGives,
  ttl,
} from "../fixtures/tag-fixture.ts";

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
  "loop",
] as const satisfies readonly UpstreamErrorCode[];

for (const code of codes)
  t.test(`${code}: the stale record is served within its bound, the error beyond it`, async (t) => {
    const cache = await openResolvedTag(t);
    const error = failWith(cache, code);
    const age = ttl + bridged - 1;
    cache.clock.advance(age);
    await tagGives(t, cache, first, "stale", age);
    t.same(cache.notices.at(-1), {
      kind: "stale_served",
      upstream: "up",
      repository: "team/app",
      tag,
      ageMs: age,
      reason: code,
    });
    cache.clock.advance(1);
    await t.rejects(openTag(cache), error);
    t.equal(noticesOf(cache, "stale_served").length, 1);
    t.equal((await record(cache))?.digest, first.digest, "the record stays for when upstream is back");
  });

t.test("a cold tag has nothing to be served from, and each request asks", async (t) => {
  const cache = await openCache(t);
  const error = failWith(cache, "unreachable");
  for (const _ of [1, 2]) await t.rejects(openTag(cache), error);
  t.equal(cache.upstream.calls.length, 2);
});

t.test("a stale manifest that is gone cannot be served", async (t) => {
  const cache = await openResolvedTag(t);
  cache.local.forget(first.digest);
  await cache.store.delete(first.digest);
  cache.clock.advance(ttl);
  const error = failWith(cache, "timeout");
  await t.rejects(openTag(cache), error);
});

t.test("what is not upstream's failure is not covered up by a stale record", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl);
  cache.upstream.fault = () => {
    throw new TypeError("a mistake of ours");
  };
  for (const _ of [1, 2]) await t.rejects(openTag(cache), { name: "TypeError" });
  t.equal(cache.upstream.calls.length, 2, "nor remembered");
  t.same(noticesOf(cache, "stale_served"), []);
});

t.test(
  "a failure is remembered for 3 to 4.5 s: the stale record answers at once, then upstream is asked again",
  async (t) => {
    const cache = await openResolvedTag(t);
    cache.clock.advance(ttl);
    failWith(cache, "server_error");
    await tagGives(t, cache, first, "stale", ttl);
    t.equal(cache.upstream.calls.length, 1);
    cache.clock.advance(3_000);
    await tagGives(t, cache, first, "stale", ttl + 3_000);
    t.equal(cache.upstream.calls.length, 1);
    t.match(
      noticesOf(cache, "stale_served").map(({ reason }) => reason),
      ["server_error", "server_error"],
    );
    cache.clock.advance(1_501);
    await tagGives(t, cache, first, "stale", ttl + 4_501);
    t.equal(cache.upstream.calls.length, 2);
    cache.clock.advance(4_501);
    cache.upstream.fault = undefined;
    push(cache, second);
    await tagGives(t, cache, second, "miss");
  },
);

t.test("the memory of a failure is the tag's own", async (t) => {
  const cache = await openResolvedTag(t);
  const latest = tagOf("latest");
  push(cache, second, app, latest);
  await openTag(cache, latest);
  cache.clock.advance(ttl);
  failWith(cache, "timeout");
  await tagGives(t, cache, first, "stale", ttl);
  cache.upstream.fault = undefined;
  t.match(summary(t, await openTag(cache, latest), second), { result: "revalidated" });
});

t.test("success forgets the failure", async (t) => {
  const cache = await openResolvedTag(t, { freshness: { ttl: 0 } });
  cache.clock.advance(bridged - 1);
  failWith(cache, "timeout");
  await tagGives(t, cache, first, "stale", bridged - 1);
  cache.clock.advance(1);
  // Too old to be served stale, so upstream is asked whatever is remembered.
  cache.upstream.fault = undefined;
  await tagGives(t, cache, first, "revalidated");
  await tagGives(t, cache, first, "revalidated");
});

t.test("slow to confirm: stale after 1 s, and the record is refreshed behind", async (t) => {
  const cache = await openResolvedTag(t);
  push(cache, second);
  cache.clock.advance(ttl);
  const slow = gate();
  cache.upstream.fault = () => slow.opened;
  const opening = openTag(cache);
  await eventually("it waits", () => cache.time.waiting === 1);
  t.same(cache.time.asked, [1_000]);
  cache.time.elapse();
  t.match(summary(t, await opening, first), { result: "stale", age: ttl });
  t.equal(noticesOf(cache, "stale_served")[0]?.reason, "timeout");
  await tagGives(t, cache, first, "stale", ttl);
  t.equal(cache.time.waiting, 0, "the next one does not wait for the same question");
  t.equal(cache.upstream.calls.length, 1);
  slow.open();
  for (let moved = false; !moved; await quiet(1)) {
    const opened = await openTag(cache);
    moved = opened.kind === "found" && opened.digest === second.digest;
  }
  await tagGives(t, cache, second, "hit");
  t.equal(cache.upstream.calls.length, 2);
});

t.test("slow to fail: nothing is left unhandled, and the failure is remembered", async (t) => {
  const cache = await openResolvedTag(t);
  cache.clock.advance(ttl);
  const slow = gate();
  const { upstream } = cache;
  upstream.fault = async () => {
    await slow.opened;
    throw new UpstreamError("server_error", "by the test");
  };
  const opening = openTag(cache);
  await eventually("it waits", () => cache.time.waiting === 1);
  cache.time.elapse();
  t.match(summary(t, await opening, first), { result: "stale" });
  slow.open();
  await quiet();
  await tagGives(t, cache, first, "stale", ttl);
  t.equal(upstream.calls.length, 1);
  t.equal(noticesOf(cache, "stale_served").at(-1)?.reason, "server_error");
});

t.test("without a record to fall back on there is no hurry", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  await openTag(cache);
  cache.clock.advance(ttl + bridged);
  await tagGives(t, cache, first, "revalidated");
  t.same(cache.time.asked, []);
});

// ---- upstream says no -------------------------------------------------------------------------------------------

t.test("absent and denied are authoritative: the record goes and nothing stale is served", async (t) => {
  for (const kind of ["absent", "denied"] as const)
    await t.test(kind, async (t) => {
      const cache = await openResolvedTag(t);
      if (kind === "absent") cache.upstream.remove("team/app", tag);
      else cache.upstream.deny("team/app");
      await tagGives(t, cache, first, "hit");
      cache.clock.advance(ttl);
      t.same(await openTag(cache), { kind });
      t.equal(await record(cache), undefined);
      failWith(cache, "unreachable");
      await t.rejects(openTag(cache), { code: "unreachable" });
      t.same(noticesOf(cache, "stale_served"), []);
    });
});

t.test("a cold tag that upstream does not have leaves nothing", async (t) => {
  const cache = await openCache(t);
  t.same(await openTag(cache), { kind: "absent" });
  t.equal(await record(cache), undefined);
  t.equal(cache.store.spools, 0);
  push(cache, first);
  await tagGives(t, cache, first, "miss");
});

// ---- what cannot be used ----------------------------------------------------------------------------------------

t.test("a body that is not what was announced is refused, and nothing is stored", async (t) => {
  const cache = await openCache(t);
  cache.upstream.addManifest("team/app", tag, first.manifest, first.mediaType, second.digest);
  await t.rejects(openTag(cache), {
    name: "UpstreamError",
    code: "digest_mismatch",
    message: `upstream sent a manifest with digest ${first.digest} for ${second.digest}`,
  });
  t.equal(cache.store.spools, 0);
  t.equal(await record(cache), undefined);
  t.notOk(await cache.access.linked(remoteRepository(cache.upstream, app), second.digest));
});

t.test("a body that can be read in two ways, or in none, is refused, stale or not", async (t) => {
  const ambiguous = Buffer.from('{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}');
  for (const [body, says] of [
    [ambiguous, "ambiguous"],
    [Buffer.from("<html>"), "not_json"],
  ] as const)
    await t.test(says, async (t) => {
      const cache = await openCache(t);
      const type = "application/vnd.oci.image.index.v1+json";
      cache.upstream.addManifest("team/app", tag, body, type);
      await t.rejects(openTag(cache), {
        code: "protocol",
        message: `upstream's manifest ${sha256(body)} cannot be used: ${says}`,
      });
      t.equal(cache.store.spools, 0);
      push(cache, first);
      await tagGives(t, cache, first, "miss");
      cache.upstream.addManifest("team/app", tag, body, type);
      cache.clock.advance(ttl);
      await tagGives(t, cache, first, "stale", ttl);
    });
});

// ---- stores fail ------------------------------------------------------------------------------------------------

t.test("a tag store that fails costs a question each time, and each failure is a notice", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  const failure = new StoreError("unavailable", "no redis");
  for (const method of ["get", "put"] as const) cache.faults.tags.set(method, failure);
  for (const _ of [1, 2]) await tagGives(t, cache, first, "miss");
  t.same(
    noticesOf(cache, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["tags.get unavailable", "tags.put unavailable", "tags.get unavailable", "tags.put unavailable"],
  );
  cache.faults.tags.clear();
  cache.faults.tags.set("delete", failure);
  cache.upstream.remove("team/app", tag);
  t.same(await openTag(cache), { kind: "absent" });
  t.equal(noticesOf(cache, "store_error").at(-1)?.op, "tags.delete");
});

t.test("a blob store that fails at the put: the manifest is served, later from memory", async (t) => {
  const cache = await openCache(t);
  push(cache, first);
  cache.store.faults.set("create", failing("no_space"));
  await tagGives(t, cache, first, "miss");
  t.match(summary(t, await openTag(cache), first), {
    result: "hit",
    source: "memory",
    age: 0,
    freshFor: ttl,
  });
  t.equal(cache.upstream.calls.length, 1);
  t.match(noticesOf(cache, "store_error"), [{ op: "put_manifest", code: "no_space" }]);
});
