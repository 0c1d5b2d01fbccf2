// What ends, starts or fails while a client is being served.
import t from "tap";
import { StoreError } from "../../src/ports/blobs.ts";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import { app, bytes, config, fillsOver, found, openBlob, other } from "../fixtures/blob-clients.ts";
import {
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  overwriteBlob,
  readAll,
  readUntilFailure,
  storeBlob,
  truncateBlob,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { MemoryUpstream } from "../fixtures/memory-upstream.ts";

t.test("a fill that runs from start to end during a look-up is found, not repeated", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const looked = gate();
  let lookups = 0;
  cache.store.faults.set("missing", () => (++lookups === 1 ? looked.opened : undefined));
  const late = found(t, cache, app, digest);
  await eventually("the first has found nothing", () => lookups === 1);
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  looked.open();
  const opened = await late;
  t.equal(opened.result, "hit");
  t.ok((await readAll(opened.reader)).equals(bytes));
  t.equal(cache.upstream.count("GET blob"), 1);
});

t.test(
  "a fill that starts during a look-up is joined, and one that ends during the proof is found",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    cache.upstream.addBlob("team/other", bytes);
    const [looked, held, proved] = [gate(), gate(), gate()];
    let lookups = 0;
    cache.store.faults.set("missing", () => (++lookups === 1 ? looked.opened : undefined));
    cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const late = found(t, cache, app, digest);
    await eventually("the first has found nothing", () => lookups === 1);
    const first = await found(t, cache, app, digest);
    looked.open();
    const joined = await late;
    t.equal(joined.result, "joined");

    cache.upstream.fault = (call) => (call.startsWith("HEAD") ? proved.opened : undefined);
    const proving = found(t, cache, other, digest);
    await eventually("upstream is asked", () => cache.upstream.count("HEAD") === 1);
    held.open();
    await Promise.all([readAll(first.reader), readAll(joined.reader)]);
    await fillsOver(cache);
    proved.open();
    const hit = await proving;
    t.equal(hit.result, "hit");
    t.ok((await readAll(hit.reader)).equals(bytes));
    t.equal(cache.upstream.count("GET blob"), 1);
  },
);

t.test("a store that cannot open is reported, and upstream serves, once for all requests", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  cache.store.faults.set("open", failing());
  const opened = await Promise.all([1, 2, 3].map(() => found(t, cache, app, digest)));
  for (const { reader } of opened) t.ok((await readAll(reader)).equals(bytes));
  t.equal(cache.upstream.count("GET blob"), 2);
  t.match(noticesOf(cache, "store_error")[0], { op: "open", code: "io" });
  await fillsOver(cache);
  cache.store.faults.clear();
  t.equal((await found(t, cache, app, digest)).result, "hit", "a store that recovers serves again");
});

t.test(
  "with a store that cannot open, a request whose fill ends while it proves its right still ends",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    cache.upstream.addBlob("team/other", bytes);
    await storeBlob(cache, bytes, digest);
    await cache.access.link(remoteRepository(cache.upstream, app), [{ digest, size: undefined }]);
    const [looked, proved] = [gate(), gate()];
    let opens = 0;
    cache.store.faults.set("open", async (operation) => {
      if (++opens === 4) await looked.opened;
      failing()(operation);
    });
    cache.upstream.fault = (call) => (call.startsWith("HEAD") ? proved.opened : undefined);
    const unlinked = found(t, cache, other, digest);
    await eventually("the last lookup begins", () => opens >= 3);
    await quiet();
    const linked = await found(t, cache, app, digest);
    looked.open();
    await quiet();
    await readAll(linked.reader);
    await fillsOver(cache);
    proved.open();
    t.ok((await readAll((await unlinked).reader)).equals(bytes));
  },
);

t.test("an index that fails is reported, and upstream serves", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const failure = new StoreError("io", "the index is broken");
  for (const method of ["get", "add", "totals"] as const) cache.faults.blobs.set(method, failure);
  for (const method of ["has", "add"] as const) cache.faults.links.set(method, failure);
  for (const result of ["miss", "miss"] as const) {
    const opened = await found(t, cache, app, digest);
    t.equal(opened.result, result);
    t.ok((await readAll(opened.reader)).equals(bytes));
    await fillsOver(cache);
  }
  t.same(
    new Set(noticesOf(cache, "store_error").map(({ op }) => op)),
    new Set(["links.has", "open", "index.get", "index.totals", "index.add", "links.add"]),
  );
  cache.faults.blobs.clear();
  cache.faults.links.clear();
  t.equal((await found(t, cache, app, digest)).result, "hit", "the store is believed without a row");
});

t.test("a stored file of another size is dropped and downloaded again", async (t) => {
  for (const size of [bytes.length - 1, bytes.length + 1, 10, 0])
    await t.test(`${size} bytes`, async (t) => {
      const cache = await openCache(t);
      const digest = cache.upstream.addBlob("team/app", bytes);
      await readAll((await found(t, cache, app, digest)).reader);
      await fillsOver(cache);
      await truncateBlob(cache, digest, size);
      const again = await found(t, cache, app, digest);
      t.equal(again.result, "miss");
      t.ok((await readAll(again.reader)).equals(bytes));
      await fillsOver(cache);
      t.match(noticesOf(cache, "eviction"), [{ reason: "corrupt", digest, bytes: size, orphaned: 0 }]);
      t.equal((await found(t, cache, app, digest)).result, "hit");
    });
});

t.test("a small stored file is verified before it is served", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", config);
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  await overwriteBlob(cache, digest, Buffer.alloc(config.length));
  const again = await found(t, cache, app, digest);
  t.equal(again.result, "miss");
  t.ok((await readAll(again.reader)).equals(config));
});

t.test("upstream's failure reaches every waiting request, and the next one asks again", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const failure = new UpstreamError("timeout", "too slow");
  const answered = gate();
  cache.upstream.transfers.push({ answerAfter: answered.opened, failWith: failure });
  const opening = [1, 2, 3].map(() => openBlob(cache, app, digest));
  await eventually("all wait", () => cache.blobs.fills[0]?.followers === 3);
  answered.open();
  for (const result of await Promise.allSettled(opening))
    t.same(result, { status: "rejected", reason: failure });
  await quiet();
  t.equal(cache.blobs.fills.length, 0);
  t.ok((await readAll((await found(t, cache, app, digest)).reader)).equals(bytes));
  await fillsOver(cache);
  await nothingLeft(t, cache);
});

t.test("wrong bytes are served to no client; the next request downloads again", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const answered = gate();
  cache.upstream.transfers.push({ bytes: Buffer.alloc(bytes.length), answerAfter: answered.opened });
  const opening = [1, 2].map(() => found(t, cache, app, digest));
  await eventually("both wait", () => cache.blobs.fills[0]?.followers === 2);
  answered.open();
  const opened = await Promise.all(opening);
  for (const { reader } of opened) {
    const { bytes: read, error } = await readUntilFailure(reader);
    t.match(error, { code: "digest_mismatch" });
    t.ok(read.length < bytes.length);
  }
  const again = await found(t, cache, app, digest);
  t.equal(again.result, "miss");
  t.ok((await readAll(again.reader)).equals(bytes));
  t.equal(cache.upstream.count("GET blob"), 2);
});

t.test(
  "a client in another upstream joins when its upstream has the blob, and its answer names the source",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    const second = new MemoryUpstream("second");
    const held = gate();
    cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const first = await found(t, cache, app, digest);
    t.same(await cache.blobs.open(remoteRepository(second, app), digest), { kind: "absent" });
    second.addBlob("team/app", bytes);
    const joined = await cache.blobs.open(remoteRepository(second, app), digest);
    t.match(joined, { result: "joined", source: "upstream:up" });
    t.match(await cache.blobs.head(remoteRepository(second, app), digest), {
      result: "joined",
      source: "upstream:up",
    });
    t.equal(second.count("GET"), 0);
    held.open();
    t.ok(joined.kind === "found" && (await readAll(joined.reader)).equals(bytes));
    await readAll(first.reader);
  },
);
