// Broken transfers are resumed where they broke, within bounds; what upstream may not do ends the fill.
import t, { type Test } from "tap";
import type { Fill } from "../../../src/cache/fill/fill.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../../src/ports/upstream.ts";
import {
  type CacheFixture,
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  readAll,
  readUntilFailure,
  startFill,
} from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import type { Transfer } from "../../fixtures/memory-upstream.ts";

const bytes = randomBytesFor("layer", mebibyte + 77);
const size = bytes.length;
const at30 = Math.floor(size * 0.3);
const at60 = Math.floor(size * 0.6);

async function fillWith(t: Test, ...transfers: Transfer[]): Promise<{ cache: CacheFixture; fill: Fill }> {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  cache.upstream.transfers.push(...transfers);
  return { cache, fill: startFill(cache, digest) };
}

/** Where each transfer began. */
function offsets({ upstream }: CacheFixture): number[] {
  return upstream.calls.map((call) => Number(call.split(" from ")[1]));
}

async function completes(t: Test, { cache, fill }: { cache: CacheFixture; fill: Fill }): Promise<void> {
  t.ok((await readAll(fill.follow())).equals(bytes), "the client never notices");
  await fill.done;
  t.same(
    noticesOf(cache, "fill").map(({ result }) => result),
    ["committed"],
  );
  await nothingLeft(t, cache);
}

async function fails(
  t: Test,
  { cache, fill }: { cache: CacheFixture; fill: Fill },
  code: UpstreamErrorCode,
  message: RegExp | string,
): Promise<void> {
  const { bytes: read, error } = await readUntilFailure(fill.follow());
  t.match(error, { name: "UpstreamError", code, message });
  t.ok(
    read.length < size && read.equals(bytes.subarray(0, read.length)),
    "what the client got is right and short",
  );
  await fill.done;
  t.equal(await cache.store.open(fill.digest), undefined, "nothing is stored");
  t.notOk(noticesOf(cache, "fill").some(({ result }) => result !== "discarded"));
  await nothingLeft(t, cache);
}

t.test("a transfer cut twice is resumed from the exact byte, and no byte is sent twice", async (t) => {
  const run = await fillWith(t, { cutAt: at30 }, { cutAt: at60 });
  await completes(t, run);
  t.same(offsets(run.cache), [0, at30, at60]);
  t.equal(run.cache.upstream.bytesSent, size);
  t.same(run.cache.time.asked, [100, 100], "both had brought enough for the shortest pause");
});

t.test("a transfer that ends early without an error is resumed like a cut one", async (t) => {
  const run = await fillWith(t, { bytes: bytes.subarray(0, at30), size });
  await completes(t, run);
  t.same(offsets(run.cache), [0, at30]);
});

for (const code of ["truncated", "unreachable", "timeout", "server_error", "rate_limited"] as const)
  t.test(
    `${code} in the middle of a body is resumed, and so is ${code} of the attempt to resume`,
    async (t) => {
      const failWith = new UpstreamError(code, "by the test");
      const run = await fillWith(t, { cutAt: at30, cutWith: failWith }, { failWith });
      await completes(t, run);
      t.same(offsets(run.cache), [0, at30, at30]);
      t.same(run.cache.time.asked, [100, 200]);
    },
  );

for (const code of ["auth", "protocol", "range_refused", "digest_mismatch", "too_large"] as const)
  t.test(`${code} in the middle of a body ends the fill at once`, async (t) => {
    const run = await fillWith(t, { cutAt: at30, cutWith: new UpstreamError(code, "by the test") });
    await fails(t, run, code, "by the test");
    t.same(offsets(run.cache), [0]);
  });

// ---- an upstream that is known not to answer -------------------------------------------------------------------

const circuitOpen = new UpstreamError("circuit_open", "by the test", { retryAfter: 2 });

t.test("waiting for an upstream that is not asked spends no attempt", async (t) => {
  const outage = Array.from({ length: 100 }, () => ({ failWith: circuitOpen }));
  const unreachable = { failWith: new UpstreamError("unreachable", "by the test") };
  const run = await fillWith(
    t,
    { cutAt: at30 },
    unreachable,
    unreachable,
    unreachable,
    ...outage,
    unreachable,
  );
  run.cache.time.instant = () => true;
  await completes(t, run);
  t.same(run.cache.time.asked.slice(0, 4), [100, 200, 400, 800]);
  t.same(new Set(run.cache.time.asked.slice(4, 104)), new Set([2_000]), "asked again when a probe is due");
  t.same(run.cache.time.asked.slice(104), [100], "the attempts before the outage are forgotten");
});

t.test("an outage is waited for five minutes without a byte, and no longer", async (t) => {
  const outage = Array.from({ length: 150 }, () => ({ failWith: circuitOpen }));
  const enough = await fillWith(t, { cutAt: at30 }, ...outage, { cutAt: at60 }, ...outage);
  enough.cache.time.instant = () => true;
  await completes(t, enough);
  const tooLong = await fillWith(t, { cutAt: at30 }, ...outage, ...outage);
  tooLong.cache.time.instant = () => true;
  await fails(t, tooLong, "circuit_open", "by the test");
  t.equal(tooLong.cache.upstream.count("GET blob"), 152);
});

t.test("before the first byte nobody waits for an upstream that is not asked", async (t) => {
  const run = await fillWith(t, { failWith: circuitOpen });
  await t.rejects(run.fill.head, { code: "circuit_open", retryAfter: 2 });
  await fails(t, run, "circuit_open", "by the test");
  t.same(run.cache.time.asked, []);
});

t.test("a pause upstream asks for is kept, up to a minute", async (t) => {
  const limited = (retryAfter: number) => ({
    failWith: new UpstreamError("rate_limited", "by the test", { retryAfter }),
  });
  const run = await fillWith(t, { cutAt: at30 }, limited(7), limited(3600), limited(0));
  run.cache.time.instant = () => true;
  await completes(t, run);
  t.same(run.cache.time.asked, [100, 7_000, 60_000, 800]);
});

t.test("an error that is not upstream's is not resumed", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const fill = startFill(cache, digest, {
    open: () => {
      cache.upstream.calls.push("open");
      // Whatever an upstream throws, a fill fails with an Error.
      throw "a string";
    },
  });
  await t.rejects(fill.head, { message: "a string" });
  await fill.done;
  t.equal(cache.upstream.calls.length, 1);
});

t.test("five transfers in a row that bring next to nothing end the fill", async (t) => {
  const few = 64 * 1024 - 1;
  const cuts = Array.from({ length: 5 }, (_, cut) => ({ cutAt: at30 + cut * Math.floor(few / 5) }));
  const run = await fillWith(t, ...cuts);
  await fails(t, run, "truncated", "cut by the test");
  t.same(
    offsets(run.cache),
    [0, ...cuts.slice(0, 4).map(({ cutAt }) => cutAt)],
    "the first one brought much: five more tries after it would be too many",
  );
  t.same(run.cache.time.asked, [100, 200, 400, 800]);
});

t.test("transfers that each bring 64 KiB go on for as long as it takes", async (t) => {
  const step = 64 * 1024;
  const cuts = Array.from({ length: 15 }, (_, cut) => ({ cutAt: (cut + 1) * step }));
  const run = await fillWith(t, ...cuts);
  await completes(t, run);
  t.equal(run.cache.upstream.count("GET blob"), 16);
  t.equal(run.cache.upstream.bytesSent, size);
  t.same(new Set(run.cache.time.asked), new Set([100]));
});

t.test("progress forgets the attempts before it", async (t) => {
  const few = 10;
  const run = await fillWith(
    t,
    { cutAt: at30 },
    { cutAt: at30 + few },
    { cutAt: at30 + 2 * few },
    { cutAt: at30 + 3 * few },
    { cutAt: at60 },
    { cutAt: at60 + few },
  );
  await completes(t, run);
  t.same(run.cache.time.asked, [100, 200, 400, 800, 100, 200]);
});

t.test("an answer from the start to a request for the rest: what is here is passed over", async (t) => {
  for (const cutAt of [at30, 16 * 1024])
    await t.test(`cut at ${cutAt}`, async (t) => {
      const run = await fillWith(t, { cutAt }, { ignoreRange: true });
      await completes(t, run);
      t.equal(run.cache.upstream.bytesSent, size + cutAt);
    });
});

t.test("an answer from the start that is cut before it brings anything new is no progress", async (t) => {
  const cuts = Array.from({ length: 4 }, () => ({ ignoreRange: true, cutAt: at30 }));
  const run = await fillWith(t, { cutAt: at30 }, ...cuts);
  await fails(t, run, "truncated", "cut by the test");
  t.equal(run.cache.upstream.count("GET blob"), 5);
});

t.test("an answer from beyond the byte asked for ends the fill", async (t) => {
  const later = await fillWith(t, { cutAt: at30 }, { offset: at30 + 1 });
  await fails(t, later, "protocol", /beyond the range/);
});

t.test("an answer from the middle to the first request ends the fill", async (t) => {
  const first = await fillWith(t, { offset: 1 });
  await fails(t, first, "protocol", /beyond the range/);
});

t.test("another size in the answer to a request for the rest ends the fill", async (t) => {
  const run = await fillWith(t, { cutAt: at30 }, { size: size + 1 });
  await fails(t, run, "protocol", `upstream changed the size from ${size} to ${size + 1} bytes`);
});

t.test("the rest may come without a size", async (t) => {
  await completes(t, await fillWith(t, { cutAt: at30 }, { noSize: true }));
});

t.test("a size that becomes known with the rest holds from then on", async (t) => {
  const run = await fillWith(t, { noSize: true, cutAt: at30 }, { bytes: bytes.subarray(0, at60), size }, {});
  await completes(t, run);
  t.same(offsets(run.cache), [0, at30, at60], "an early end is seen and resumed");
});

t.test("more bytes than announced end the fill", async (t) => {
  const run = await fillWith(t, { size: at60 });
  await fails(t, run, "protocol", `upstream sent more than the ${at60} bytes it announced`);
});

t.test("a refusal of the rest ends the fill", async (t) => {
  for (const refuse of ["absent", "denied"] as const)
    await t.test(refuse, async (t) => {
      const run = await fillWith(t, { cutAt: at30 }, { refuse });
      await fails(t, run, "protocol", "upstream no longer has the blob it was sending");
      t.same(await run.fill.head, { kind: "found", size });
    });
});

// ---- before the first byte --------------------------------------------------------------------------------------

for (const code of ["truncated", "unreachable"] as const)
  t.test(`${code} before the first byte is tried once more`, async (t) => {
    const failWith = new UpstreamError(code, "by the test");
    const run = await fillWith(t, { failWith });
    await completes(t, run);
    t.same(offsets(run.cache), [0, 0]);
    t.same(run.cache.time.asked, [100]);
    await t.test("and only once", async (t) => {
      const again = await fillWith(t, { failWith }, { failWith });
      await t.rejects(again.fill.head, failWith);
      await fails(t, again, code, "by the test");
      t.same(offsets(again.cache), [0, 0]);
      t.same(again.cache.notices, []);
    });
  });

for (const code of ["timeout", "auth", "server_error", "rate_limited", "protocol"] as const)
  t.test(`${code} before the first byte is not tried again: clients are waiting`, async (t) => {
    const failWith = new UpstreamError(code, "by the test");
    const run = await fillWith(t, { failWith });
    await t.rejects(run.fill.head, failWith);
    await fails(t, run, code, "by the test");
    t.same(offsets(run.cache), [0]);
    t.equal(run.cache.store.spools, 0);
  });

t.test("an answer cut before its first byte is asked for again, into the same spool", async (t) => {
  const run = await fillWith(t, { cutAt: 0 });
  await completes(t, run);
  t.equal(run.cache.store.spools, 1);
});

t.test("another size after an answer cut before its first byte ends the fill", async (t) => {
  const run = await fillWith(t, { cutAt: 0, size: at60 }, {});
  t.same(await run.fill.head, { kind: "found", size: at60 });
  await fails(t, run, "protocol", `upstream changed the size from ${at60} to ${size} bytes`);
});

t.test("a size announced before the first byte holds for an answer without one", async (t) => {
  const run = await fillWith(t, { cutAt: 0, size: at60 }, { noSize: true });
  await fails(t, run, "protocol", `upstream sent more than the ${at60} bytes it announced`);
});

t.test("a refusal after an answer cut before its first byte ends the fill", async (t) => {
  const run = await fillWith(t, { cutAt: 0 }, { refuse: "absent" });
  await fails(t, run, "protocol", "upstream no longer has the blob it was sending");
});
