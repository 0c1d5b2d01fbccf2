// Tags while something fails: stale for as long as upstream cannot say, gone when it says no, and what cannot be used
// is refused.
import t from "tap";
import { StoreError } from "../../src/ports/blobs.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../src/ports/upstream.ts";
import { noticesOf, openHouse } from "../fixtures/cache-house.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { sha256, tagOf } from "../fixtures/memory-upstream.ts";
import {
  app,
  bridged,
  failWith,
  first,
  openTag,
  push,
  record,
  resolvedHouse,
  second,
  summary,
  tag,
  tagGives,
  ttl,
} from "../fixtures/tag-house.ts";

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
  t.match(summary(t, await openTag(house), first), {
    result: "hit",
    source: "memory",
    age: 0,
    freshFor: ttl,
  });
  t.equal(house.upstream.calls.length, 1);
  t.match(noticesOf(house, "store_error"), [{ op: "put_manifest", code: "no_space" }]);
});
