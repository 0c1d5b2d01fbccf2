// Nobody gets a complete body with wrong bytes: the end of a blob is held back until its digest is verified.
import t from "tap";
import { holdBack } from "../../../src/cache/fill/range-plan.ts";
import {
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  readAll,
  readBytes,
  readUntilFailure,
  startFill,
} from "../../fixtures/cache-fixture.ts";
import { digestOf, randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";

const bytes = randomBytesFor("layer", mebibyte + 5);
const wrong = Buffer.from(bytes);
wrong[bytes.length - 1] = (wrong[bytes.length - 1] as number) ^ 1;

for (const noSize of [false, true])
  t.test(`the last 64 KiB wait for the digest, the size being ${noSize ? "unknown" : "known"}`, async (t) => {
    t.equal(holdBack, 65_536);
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    const end = gate();
    cache.upstream.transfers.push({ noSize, hold: { at: bytes.length, until: end.opened } });
    const fill = startFill(cache, digest);
    const reader = fill.follow();
    await eventually("every byte has arrived", () => fill.received === bytes.length);
    const free = bytes.length - holdBack;
    t.ok((await readBytes(reader, { end: free })).equals(bytes.subarray(0, free)), "everything before them");
    const last = await reader.read(free - 1, Buffer.alloc(mebibyte));
    t.equal(last.length, 1, "not one byte more");
    let more = false;
    const rest = reader.read(free, Buffer.alloc(mebibyte)).finally(() => {
      more = true;
    });
    await quiet();
    t.equal(more, false, "held back");
    end.open();
    const chunk = await rest;
    t.equal(chunk.compare(bytes, free, free + chunk.length), 0);
    t.ok((await readBytes(reader, { from: free })).equals(bytes.subarray(free)));
    await reader.close();
    await fill.done;
  });

t.test("of a body without a size, the newest 64 KiB are held back all the time", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const middle = gate();
  const at = 512 * 1024;
  cache.upstream.transfers.push({ noSize: true, hold: { at, until: middle.opened } });
  const fill = startFill(cache, digest);
  const reader = fill.follow();
  await eventually("half has arrived", () => fill.received === at);
  const got = await readBytes(reader, { end: at - holdBack });
  t.equal(got.length, at - holdBack);
  let more = false;
  const rest = reader.read(at - holdBack, Buffer.alloc(10)).finally(() => {
    more = true;
  });
  await quiet();
  t.equal(more, false);
  middle.open();
  await rest;
  await reader.close();
  await fill.done;
});

t.test(
  "wrong bytes of the right length: no complete body, nothing stored, and the next fill asks again",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    cache.upstream.transfers.push({ bytes: wrong });
    const fill = startFill(cache, digest);
    const stopped = fill.follow();
    const results = await Promise.all([1, 2, 3].map(() => readUntilFailure(fill.follow())));
    for (const { bytes: read, error } of results) {
      t.match(error, { name: "UpstreamError", code: "digest_mismatch" });
      t.ok(read.length <= bytes.length - holdBack, "short by what was held back");
    }
    await t.rejects(stopped.read(0, Buffer.alloc(10)), { code: "digest_mismatch" });
    await stopped.close();
    await fill.done;
    t.equal(fill.joinable, false);
    const message = `upstream sent ${digestOf(wrong).slice(7)} for ${digest}`;
    t.same(cache.notices, [
      { kind: "fill", result: "discarded", upstream: "up", digest, bytes: bytes.length, durationMs: 0 },
      { kind: "upstream_error", upstream: "up", code: "digest_mismatch", status: undefined, message },
    ]);
    t.equal(await cache.store.open(digest), undefined);
    t.equal(cache.store.count("commit"), 0);
    await nothingLeft(t, cache);

    const next = startFill(cache, digest);
    t.ok((await readAll(next.follow())).equals(bytes));
    await next.done;
    t.equal(cache.upstream.count("GET blob"), 2);
    t.equal(noticesOf(cache, "fill").at(-1)?.result, "committed");
  },
);

t.test("of a wrong blob of up to 64 KiB not one byte is given away", async (t) => {
  const cache = await openCache(t);
  const small = bytes.subarray(0, holdBack);
  const digest = cache.upstream.addBlob("team/app", small);
  cache.upstream.transfers.push({ bytes: wrong.subarray(-holdBack) });
  const { bytes: read, error } = await readUntilFailure(startFill(cache, digest).follow());
  t.match(error, { code: "digest_mismatch" });
  t.equal(read.length, 0);
});

t.test("an empty body for a blob that is not empty is wrong", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  cache.upstream.transfers.push({ bytes: Buffer.alloc(0) });
  const fill = startFill(cache, digest);
  t.match((await readUntilFailure(fill.follow())).error, { code: "digest_mismatch" });
  await fill.done;
  t.same(
    cache.notices.map(({ kind }) => kind),
    ["upstream_error"],
    "no byte was discarded",
  );
  await nothingLeft(t, cache);
});

t.test("a body without a size that ends early is wrong, and a sha512 digest is checked as one", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes, digestOf(bytes, "sha512"));
  cache.upstream.transfers.push({ noSize: true, bytes: bytes.subarray(0, -1) });
  const fill = startFill(cache, digest);
  t.match((await readUntilFailure(fill.follow())).error, { code: "digest_mismatch" });
  await fill.done;
  const right = startFill(cache, digest);
  t.ok((await readAll(right.follow())).equals(bytes));
  await right.done;
  t.equal(noticesOf(cache, "fill").at(-1)?.result, "committed");
});
