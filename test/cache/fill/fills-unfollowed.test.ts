// A fill that nobody follows any more: it ends after a while, what has come is kept, and a client that comes after all
// goes on from there. Nothing of it is given away, or complete, that upstream and the digest do not confirm.
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { BlobReader } from "../../../src/ports/blobs.ts";
import { remoteRepository, type Upstream, UpstreamError } from "../../../src/ports/upstream.ts";
import { app, fillsOver, found, openBlob } from "../../fixtures/blob-clients.ts";
import {
  type CacheFixture,
  type CacheFixtureOptions,
  mebibyte,
  nothingLeft,
  noticesOf,
  openCache,
  readAll,
  readBytes,
  readUntilFailure,
  spoolFiles,
  startFill,
} from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import { MemoryShared } from "../../fixtures/memory-shared.ts";
import { MemoryUpstream } from "../../fixtures/memory-upstream.ts";
import { MemoryPeers } from "../../fixtures/neighbours.ts";

const bytes = randomBytesFor("large layer", 8 * mebibyte + 5);
const kept = 6 * mebibyte;
const hour = 3600_000;

interface Left {
  readonly cache: CacheFixture;
  readonly digest: Digest;
  readonly rest: Rest;
}

/** Of a transfer that is held. */
interface Rest {
  readonly comes: Promise<void>;
  open(): void;
  /** As a socket does whose request is aborted. */
  end(): void;
}

function theRest(): Rest {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {});
  return { comes: promise, open: resolve, end: () => reject(new Error("aborted")) };
}

/** A fill whose only client has left when `at` bytes had come; the next one is held back. */
async function left(t: Test, at = kept, options: CacheFixtureOptions = {}): Promise<Left> {
  const cache = await openCache(t, options);
  const digest = cache.upstream.addBlob(app, bytes);
  const rest = theRest();
  cache.upstream.transfers.push({ hold: { at, until: rest.comes } });
  const opened = await found(t, cache, app, digest);
  await readBytes(opened.reader, { end: mebibyte });
  await eventually("the bytes have come", () => cache.blobs.fills[0]?.received === at);
  await opened.reader.close();
  return { cache, digest, rest };
}

/** The same, and the time is over. */
async function ended(t: Test, options?: CacheFixtureOptions): Promise<Left> {
  const made = await left(t, kept, options);
  made.cache.time.elapse();
  made.rest.end();
  await fillsOver(made.cache);
  return made;
}

async function pull(t: Test, cache: CacheFixture, digest: Digest, upstream: Upstream = cache.upstream) {
  const opened = await cache.blobs.open(remoteRepository(upstream, app), digest);
  if (opened.kind !== "found") throw new Error(`not found: ${opened.kind}`);
  t.equal(opened.result, "miss");
  t.equal(opened.size, bytes.length);
  const body = await readAll(opened.reader as BlobReader);
  await fillsOver(cache);
  return body;
}

function results(cache: CacheFixture): readonly string[] {
  return noticesOf(cache, "fill").map(({ result, bytes }) => `${result} ${bytes}`);
}

/** Where upstream was asked to begin. */
function asked({ upstream }: CacheFixture): readonly number[] {
  return upstream.calls.map((call) => Number(/from (\d+)/.exec(call)?.[1]));
}

t.test("it ends after a minute, and the next client goes on from its byte", async (t) => {
  const { cache, digest, rest } = await left(t);
  await quiet();
  t.equal(cache.blobs.fills.length, 1, "not before");
  t.equal(cache.time.asked.at(-1), 60_000);
  t.same(results(cache), []);
  cache.time.elapse();
  rest.end();
  await fillsOver(cache);
  t.same(results(cache), [`resumable ${kept}`]);
  t.equal(cache.upstream.sending, 0, "upstream sends no more");
  t.equal((await spoolFiles(cache)).length, 2, "the bytes and what they are");
  t.equal(cache.blobs.fillingBytes, kept, "they count");
  t.equal(await cache.store.open(digest), undefined, "and are no blob");
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, kept], "one question, for the rest");
  t.equal(cache.upstream.bytesSent, bytes.length, "no byte came twice");
  t.same(results(cache), [`resumable ${kept}`, `committed ${bytes.length - kept}`]);
  t.equal(cache.blobs.fillingBytes, 0);
  const stored = await cache.store.open(digest);
  t.ok(stored && (await readAll(stored)).equals(bytes));
  await nothingLeft(t, cache);
});

t.test("a client that comes back in time keeps it going", async (t) => {
  const { cache, digest, rest } = await left(t);
  const waiting = cache.time.waiting;
  const opened = await found(t, cache, app, digest);
  t.equal(cache.time.waiting, waiting - 1, "nobody counts the time any more");
  cache.time.elapse();
  rest.open();
  t.ok((await readAll(opened.reader)).equals(bytes));
  await fillsOver(cache);
  t.same(asked(cache), [0]);
  t.same(results(cache), [`committed ${bytes.length}`]);
  await nothingLeft(t, cache);
});

t.test("4 MiB at most are fetched to their end; with more it ends when they have come", async (t) => {
  const { cache, rest } = await left(t, 4 * mebibyte);
  cache.time.elapse();
  await quiet();
  t.equal(cache.blobs.fills.length, 1);
  rest.open();
  await fillsOver(cache);
  t.same(results(cache), [`resumable ${4 * mebibyte + cache.upstream.chunkSize}`]);
});

t.test("one whose size nobody has said goes on", async (t) => {
  const cache = await openCache(t);
  const digest = cache.upstream.addBlob(app, bytes);
  const rest = theRest();
  cache.upstream.transfers.push({ hold: { at: kept, until: rest.comes }, noSize: true });
  const opened = await found(t, cache, app, digest);
  await eventually("the bytes have come", () => cache.blobs.fills[0]?.received === kept);
  await opened.reader.close();
  cache.time.elapse();
  rest.open();
  await fillsOver(cache);
  t.same(results(cache), [`committed ${bytes.length}`]);
});

t.test("so does one that is larger than what may be kept", async (t) => {
  const { cache, rest } = await left(t, kept, { keptBytes: kept - 1 });
  cache.time.elapse();
  rest.open();
  await fillsOver(cache);
  t.same(results(cache), [`committed ${bytes.length}`]);
  await nothingLeft(t, cache);
});

t.test("so does one whose bytes come from another node", async (t) => {
  const known = new MemoryShared();
  const peers = new MemoryPeers();
  const cache = await openCache(t, { shared: known, peers, address: "http://10.0.0.2:5000" });
  const digest = cache.upstream.addBlob(app, bytes);
  const a = "http://10.0.0.1:5000";
  const rest = theRest();
  const body = async function* (): AsyncGenerator<Buffer> {
    yield bytes.subarray(0, kept);
    await rest.comes;
    yield bytes.subarray(kept);
  };
  peers.open = async () => ({ kind: "found", size: bytes.length, offset: 0, body: body() });
  await known.node(a).leases.acquire(`blob:up/${digest}`);
  const opened = await found(t, cache, app, digest);
  await eventually("the bytes have come", () => cache.blobs.fills[0]?.received === kept);
  await opened.reader.close();
  cache.time.elapse();
  rest.open();
  await fillsOver(cache);
  t.same(results(cache), [`committed ${bytes.length}`]);
});

t.test("a client that comes while it is being kept waits for that", async (t) => {
  const { cache, digest, rest } = await left(t);
  const keeping = gate();
  cache.store.faults.set("keep", () => keeping.opened);
  cache.time.elapse();
  rest.end();
  await eventually("it is being kept", () => cache.store.count("keep") === 1);
  const pulling = pull(t, cache, digest);
  await quiet();
  t.same(asked(cache), [0]);
  keeping.open();
  t.ok((await pulling).equals(bytes));
  t.same(asked(cache), [0, kept]);
  await nothingLeft(t, cache);
});

t.test("a store that cannot keep it loses only what has come", async (t) => {
  const { cache, digest, rest } = await left(t);
  cache.store.faults.set("keep", () => {
    throw new Error("no");
  });
  cache.time.elapse();
  rest.end();
  await fillsOver(cache);
  t.same(results(cache), [`not_stored ${kept}`]);
  t.same(
    noticesOf(cache, "store_error").map(({ op }) => op),
    ["keep"],
  );
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, 0]);
  await nothingLeft(t, cache);
});

t.test("bytes that have changed since are not gone on from", async (t) => {
  for (const at of [0, kept / 2, kept - 1])
    await t.test(`the one at ${at}`, async (t) => {
      const { cache, digest } = await ended(t);
      await flip(cache, at);
      t.ok((await pull(t, cache, digest)).equals(bytes), "clients that wait get the right ones");
      t.same(asked(cache), [0, 0]);
      t.match(noticesOf(cache, "store_error"), [{ op: "resume", code: "corrupt" }]);
      t.same(noticesOf(cache, "upstream_error"), [], "upstream is not blamed");
      await nothingLeft(t, cache);
    });
});

t.test("what only the digest finds wrong is never complete, and the next try begins anew", async (t) => {
  const { cache, digest } = await ended(t);
  await flip(cache, 1000);
  const part = await keptFile(cache);
  const hash = createHash("sha256")
    .update(await readFile(part))
    .digest("hex");
  const fill = startFill(cache, digest, {
    // As a record that was changed along with the bytes.
    resume: async () => {
      const found = await cache.store.resume(digest, "up");
      return found && { ...found, record: { ...found.record, hash } };
    },
  });
  const reader = fill.follow();
  const { bytes: body, error } = await readUntilFailure(reader);
  t.ok(body.length < bytes.length);
  t.match(error, { code: "digest_mismatch" });
  await fill.done;
  t.equal(await cache.store.open(digest), undefined);
  t.same(await spoolFiles(cache), []);
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, kept, 0]);
});

for (const [what, transfer] of [
  ["says another size", { size: bytes.length + 1 }],
  ["says no size", { noSize: true }],
  ["answers beyond the range", { offset: kept + 1 }],
  ["has no such range", { failWith: new UpstreamError("range_refused", "416") }],
] as const)
  t.test(`upstream ${what}: from the first byte`, async (t) => {
    const { cache, digest } = await ended(t);
    cache.upstream.transfers.push(transfer);
    t.ok((await pull(t, cache, digest)).equals(bytes));
    t.same(asked(cache), [0, kept, 0]);
    t.same(results(cache).at(-1), `committed ${bytes.length}`);
    await nothingLeft(t, cache);
  });

t.test("upstream knows no ranges: what is here is not taken twice", async (t) => {
  const { cache, digest } = await ended(t);
  cache.upstream.transfers.push({ ignoreRange: true });
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, kept]);
  await nothingLeft(t, cache);
});

t.test("the rest breaks off: it goes on as any transfer does", async (t) => {
  const { cache, digest } = await ended(t);
  cache.upstream.transfers.push({ cutAt: kept + mebibyte });
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, kept, kept + mebibyte]);
});

t.test("it can be left again, with more", async (t) => {
  const { cache, digest } = await ended(t);
  const rest = theRest();
  cache.upstream.transfers.push({ hold: { at: kept + mebibyte, until: rest.comes } });
  const opened = await found(t, cache, app, digest);
  await eventually("more has come", () => cache.blobs.fills[0]?.received === kept + mebibyte);
  await opened.reader.close();
  cache.time.elapse();
  rest.end();
  await fillsOver(cache);
  t.same(results(cache), [`resumable ${kept}`, `resumable ${mebibyte}`]);
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, kept, kept + mebibyte]);
});

t.test("whom upstream refuses it gets nothing, and what was kept stays as old as it was", async (t) => {
  const { cache, digest } = await ended(t);
  for (const refuse of ["denied", "absent"] as const) {
    cache.clock.advance(hour / 3);
    cache.upstream.transfers.push({ refuse });
    t.match(await openBlob(cache, app, digest), { kind: refuse });
    await fillsOver(cache);
    t.equal(cache.blobs.fillingBytes, kept);
  }
  cache.upstream.transfers.push({ failWith: new UpstreamError("server_error", "500") });
  await t.rejects(openBlob(cache, app, digest), { code: "server_error" });
  await fillsOver(cache);
  t.same(results(cache), [`resumable ${kept}`], "nothing new has come");
  t.equal(cache.blobs.fillingBytes, kept);
  cache.clock.advance(hour / 3 + 1);
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.equal(asked(cache).at(-1), 0, "an hour after it had come it is gone");
  await nothingLeft(t, cache);
});

t.test("what came from one upstream is not for another", async (t) => {
  const { cache, digest } = await ended(t);
  const another = new MemoryUpstream("another");
  another.addBlob(app, bytes);
  t.ok((await pull(t, cache, digest, another)).equals(bytes));
  t.match(another.calls, [/from 0$/]);
});

t.test("without room for the rest it is thrown away", async (t) => {
  const { cache, digest } = await ended(t, { maxSize: 20 * mebibyte, keepFree: 0.1 });
  cache.disk.total = 100 * mebibyte;
  cache.disk.free = 11 * mebibyte;
  t.ok((await pull(t, cache, digest)).equals(bytes));
  t.same(asked(cache), [0, 0]);
  await nothingLeft(t, cache);
});

async function keptFile({ directory }: CacheFixture): Promise<string> {
  const spool = join(directory, "spool");
  return join(spool, (await readdir(spool)).find((name) => name.endsWith(".part")) ?? "");
}

/** Changes one bit of what is kept. */
async function flip(cache: CacheFixture, at: number): Promise<void> {
  const part = await keptFile(cache);
  const body = await readFile(part);
  body[at] = (body[at] as number) ^ 1;
  await writeFile(part, body);
}
