// Blobs as clients ask for them: one transfer for all of them, HEAD without one, and what runs meanwhile.
import t from "tap";
import type { OpenedBlob } from "../../src/cache/blob-cache.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import {
  app,
  bytes,
  config,
  fillsOver,
  found,
  openBlob,
  other,
  stranger,
  summary,
} from "../fixtures/blob-clients.ts";
import {
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  readAll,
  readBytes,
  readUntilFailure,
  storeBlob,
} from "../fixtures/cache-fixture.ts";
import { failing } from "../fixtures/faulty-store.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { repo, sha256 } from "../fixtures/memory-upstream.ts";

t.test("a miss, then a hit from the disk; small ones from memory after that", async (t) => {
  const cache = await openCache(t);
  for (const blob of [bytes, config]) {
    const size = blob.length;
    const digest = cache.upstream.addBlob("team/app", blob);
    const miss = await found(t, cache, app, digest);
    t.same(summary(miss), { kind: "found", result: "miss", source: "upstream:up", size });
    t.ok((await readAll(miss.reader)).equals(blob));
    await fillsOver(cache);
    for (const source of ["disk", size < 64 * 1024 ? "memory" : "disk"] as const) {
      const hit = await found(t, cache, app, digest);
      t.same(summary(hit), { kind: "found", result: "hit", source, size });
      t.ok((await readAll(hit.reader)).equals(blob));
    }
  }
  t.equal(cache.upstream.calls.length, 2, "one download each, and no other question");
  await nothingLeft(t, cache);
});

t.test("fifty clients in three repositories make one transfer", async (t) => {
  const cache = await openCache(t);
  const repositories = [app, other, repo("third/app")];
  const digest = sha256(bytes);
  for (const repository of repositories) cache.upstream.addBlob(repository, bytes);
  const answered = gate();
  cache.upstream.transfers.push({ answerAfter: answered.opened });
  const opening = Array.from({ length: 50 }, (_, at) =>
    openBlob(cache, repositories[at % 3] as typeof app, digest),
  );
  await eventually("all wait for the first", () => cache.blobs.fills[0]?.followers === 50);
  answered.open();
  const opened = await Promise.all(opening);
  const bodies = await Promise.all(
    opened.map(async (blob) => (blob.kind === "found" ? readAll(blob.reader) : Buffer.alloc(0))),
  );
  t.ok(bodies.every((body) => body.equals(bytes)));
  const results = opened.map((blob) => blob.kind === "found" && blob.result);
  t.equal(results.filter((result) => result === "miss").length, 1);
  t.equal(results.filter((result) => result === "joined").length, 49);
  t.equal(cache.upstream.count("GET blob"), 1);
  t.equal(cache.upstream.bytesSent, bytes.length);
  t.equal(cache.upstream.count("HEAD blob"), 2, "each other repository proves its right once");
  await fillsOver(cache);
  for (const repository of repositories) await readAll((await found(t, cache, repository, digest)).reader);
  t.equal(cache.upstream.calls.length, 3, "and is remembered");
  await nothingLeft(t, cache);
});

// ---- HEAD -------------------------------------------------------------------------------------------------------

t.test(
  "HEAD answers from the store, from a fill, from the proof or from upstream, and never downloads",
  async (t) => {
    const cache = await openCache(t);
    const digest = cache.upstream.addBlob("team/app", bytes);
    cache.upstream.addBlob("team/other", bytes);
    const head = (repository: typeof app) =>
      cache.blobs.head(remoteRepository(cache.upstream, repository), digest);
    const size = bytes.length;
    const fromUpstream = { kind: "found", source: "upstream:up", size };
    t.same(await head(app), { ...fromUpstream, result: "miss" });
    t.equal(cache.upstream.calls.length, 1, "the proof is the answer");
    t.same(await head(app), { ...fromUpstream, result: "miss" });
    t.equal(cache.upstream.calls.length, 2);
    t.equal(cache.upstream.count("GET"), 0);

    const held = gate();
    cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const opened = await found(t, cache, app, digest);
    t.same(await head(app), { ...fromUpstream, result: "joined" });
    held.open();
    await readAll(opened.reader);
    await fillsOver(cache);
    t.same(await head(app), { kind: "found", result: "hit", source: "disk", size });
    t.same(await head(other), { kind: "found", result: "hit", source: "disk", size });
    t.notOk(cache.blobs.inUse(digest));
    t.equal(cache.upstream.calls.length, 4, "one download, one proof");

    await cache.store.delete(digest);
    cache.upstream.remove("team/app", digest);
    t.same(await head(app), { kind: "absent" });
    t.equal(
      await cache.access.linked(remoteRepository(cache.upstream, app), digest),
      false,
      "absent unlinks",
    );
    cache.upstream.deny("team/other");
    t.same(await head(other), { kind: "denied" });
    t.equal(await cache.access.linked(remoteRepository(cache.upstream, other), digest), true);
  },
);

t.test("HEAD while upstream sends a body without a size asks for the size", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob("team/app", bytes);
  const held = gate();
  cache.upstream.transfers.push({ noSize: true, hold: { at: mebibyte, until: held.opened } });
  const opened = await found(t, cache, app, digest);
  t.equal(opened.size, undefined);
  const head = await cache.blobs.head(remoteRepository(cache.upstream, app), digest);
  t.match(head, { result: "miss", size: bytes.length });
  held.open();
  t.ok((await readAll(opened.reader)).equals(bytes));
});

// ---- relays -----------------------------------------------------------------------------------------------------

t.test("a relay that can no longer be joined gets a second transfer, which others join", async (t) => {
  const cache = await openCache(t, { windowBytes: 512 * 1024 });
  const blob = randomBytesFor("large", 2 * mebibyte);
  const digest = cache.upstream.addBlob("team/app", blob);
  cache.store.faults.set("create", failing("no_space"));
  const [end, middle] = [gate(), gate()];
  cache.upstream.transfers.push(
    { hold: { at: blob.length, until: end.opened } },
    { hold: { at: 16 * 1024, until: middle.opened } },
  );
  const first = await found(t, cache, app, digest);
  await readBytes(first.reader, { end: mebibyte });
  const second = await found(t, cache, app, digest);
  t.equal(second.result, "miss");
  t.equal(cache.blobs.fills.length, 2);
  end.open();
  t.equal((await readBytes(first.reader, { from: mebibyte })).length, mebibyte);
  await first.reader.close();
  await eventually("the first relay is over", () => cache.blobs.fills.length === 1);
  const third = await found(t, cache, app, digest);
  t.equal(third.result, "joined");
  t.equal(cache.blobs.inUse(digest), true);
  middle.open();
  const both = await Promise.all([readAll(second.reader), readAll(third.reader)]);
  t.ok(both.every((body) => body.equals(blob)));
  await fillsOver(cache);
  await quiet();
  t.equal(cache.blobs.inUse(digest), false);
  t.equal(cache.upstream.count("GET blob"), 2);
});

t.test("an oversize manifest is relayed from its own endpoint, verified and not stored", async (t) => {
  const cache = await openCache(t);
  const { upstream, blobs } = cache;
  const digest = upstream.addManifest("team/app", undefined, bytes, undefined);
  const relayed = await blobs.relayManifest(remoteRepository(upstream, app), digest).open();
  t.match(relayed, { kind: "found", result: "miss", source: "upstream:up", size: bytes.length });
  t.equal(blobs.inUse(digest), false, "no request joins it as a blob");
  t.ok(relayed.kind === "found" && (await readAll(relayed.reader)).equals(bytes));
  t.same(upstream.calls, [`GET body team/app ${digest} from 0`]);
  await eventually("it is over", () => blobs.fills.length === 0);
  t.equal(cache.store.spools, 0);
  t.equal(await cache.store.open(digest), undefined);
  t.equal(cache.index.blobs.get(digest), undefined);

  const liar = upstream.addManifest(
    "team/app",
    undefined,
    Buffer.alloc(bytes.length),
    undefined,
    sha256(config),
  );
  const wrong = await blobs.relayManifest(remoteRepository(upstream, app), liar).open();
  const { error } = await readUntilFailure((wrong as OpenedBlob).reader);
  t.match(error, { code: "digest_mismatch" });
  t.same(await blobs.relayManifest(remoteRepository(upstream, stranger), digest).open(), { kind: "absent" });
});

// ---- state ------------------------------------------------------------------------------------------------------

t.test("running fills, what they will take in the store, and what is in use", async (t) => {
  const cache = await openCache(t);
  const { blobs, upstream } = cache;
  const [held, answered] = [gate(), gate()];
  const second = randomBytesFor("second", 400_000);
  const digests = [upstream.addBlob("team/app", bytes), upstream.addBlob("team/app", second)] as const;
  t.same([blobs.fills.length, blobs.fillingBytes], [0, 0]);
  upstream.transfers.push(
    { hold: { at: mebibyte, until: held.opened } },
    { noSize: true, answerAfter: answered.opened, hold: { at: 300_000, until: held.opened } },
  );
  const first = await found(t, cache, app, digests[0]);
  await eventually("its size, when that is known", () => blobs.fillingBytes === bytes.length);
  const opening = found(t, cache, app, digests[1]);
  await eventually("both run", () => blobs.fills.length === 2);
  answered.open();
  const unknown = await opening;
  await eventually("some bytes have come", () => blobs.fills[1]?.received === 300_000);
  t.equal(blobs.fillingBytes, bytes.length + 300_000, "what has come, when not");
  t.ok(digests.every((digest) => blobs.inUse(digest)));
  held.open();
  await readAll(first.reader);
  await fillsOver(cache);
  await quiet();
  t.same([blobs.fills.length, blobs.fillingBytes], [0, 0]);
  t.equal(blobs.inUse(digests[1]), false, "a follower of a fill that is over reads the spool");
  await readAll(unknown.reader);
  const reading = await found(t, cache, app, digests[0]);
  t.equal(blobs.inUse(digests[0]), true, "a stored blob that is being read is in use");
  await reading.reader.close();
  t.equal(blobs.inUse(digests[0]), false);
});

t.test("a relayed blob takes nothing in the store", async (t) => {
  const cache = await openCache(t, { maxSize: mebibyte });
  const digest = cache.upstream.addBlob("team/app", bytes);
  const held = gate();
  cache.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
  const relayed = await found(t, cache, app, digest);
  await eventually("bytes come", () => (cache.blobs.fills[0]?.received ?? 0) > 0);
  t.equal(cache.blobs.fillingBytes, 0);
  held.open();
  t.ok((await readAll(relayed.reader)).equals(bytes));
  t.equal(cache.store.count("create"), 0, "it is larger than the whole cache");
});

t.test("a blob being committed is not counted twice against the budget", async (t) => {
  const old = randomBytesFor("old", 300_000);
  const cache = await openCache(t, { maxSize: 2 * mebibyte });
  await storeBlob(cache, old, sha256(old));
  const digest = cache.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, cache, app, digest)).reader);
  await fillsOver(cache);
  await cache.eviction.run();
  t.same(noticesOf(cache, "eviction"), []);
});

t.test("stopping ends every fill and waits until their spools are gone", async (t) => {
  const cache = await openCache(t);
  const held = gate();
  const blobs = [bytes, randomBytesFor("second", mebibyte)];
  cache.upstream.transfers.push(
    ...blobs.map(() => ({ pace: (at: number) => (at < 500_000 ? undefined : held.opened) })),
  );
  const opened = await Promise.all(
    blobs.map((blob) => found(t, cache, app, cache.upstream.addBlob("team/app", blob))),
  );
  await eventually("both are half-way", () => cache.blobs.fills.every(({ received }) => received > 400_000));
  const stopped = cache.blobs.stop(new Error("this node is stopping"));
  held.open();
  await stopped;
  t.same(cache.blobs.fills, []);
  for (const { reader } of opened)
    t.match((await readUntilFailure(reader)).error, { message: "this node is stopping" });
  await nothingLeft(t, cache);
  await cache.blobs.stop(new Error("again"));
});
