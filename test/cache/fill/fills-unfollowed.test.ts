// A fill that nobody follows any more: it ends after a while, what has come is kept, and a client that comes after all
// goes on from there. Nothing of it is given away, or complete, that upstream and the digest do not confirm.
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { BlobReader } from "../../../src/ports/blobs.ts";
import type { Upstream } from "../../../src/ports/upstream.ts";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import { app, fillsOver, found, openBlob } from "../../fixtures/blob-clients.ts";
import {
  type House,
  type HouseOptions,
  mebibyte,
  nothingLeft,
  noticesOf,
  openHouse,
  readAll,
  readBytes,
  readUntilFailure,
  spoolFiles,
  startFill,
} from "../../fixtures/cache-house.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import { MemoryShared } from "../../fixtures/memory-shared.ts";
import { MemoryUpstream } from "../../fixtures/memory-upstream.ts";
import { HousePeers } from "../../fixtures/neighbours.ts";

const bytes = randomBytesFor("large layer", 8 * mebibyte + 5);
const kept = 6 * mebibyte;
const hour = 3600_000;

interface Left {
  readonly house: House;
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
async function left(t: Test, at = kept, options: HouseOptions = {}): Promise<Left> {
  const house = await openHouse(t, options);
  const digest = house.upstream.addBlob(app, bytes);
  const rest = theRest();
  house.upstream.transfers.push({ hold: { at, until: rest.comes } });
  const opened = await found(t, house, app, digest);
  await readBytes(opened.reader, { end: mebibyte });
  await eventually("the bytes have come", () => house.blobs.fills[0]?.received === at);
  await opened.reader.close();
  return { house, digest, rest };
}

/** The same, and the time is over. */
async function ended(t: Test, options?: HouseOptions): Promise<Left> {
  const made = await left(t, kept, options);
  made.house.time.elapse();
  made.rest.end();
  await fillsOver(made.house);
  return made;
}

async function pull(t: Test, house: House, digest: Digest, upstream: Upstream = house.upstream) {
  const opened = await house.blobs.open(upstream, app, digest);
  if (opened.kind !== "found") throw new Error(`not found: ${opened.kind}`);
  t.equal(opened.result, "miss");
  t.equal(opened.size, bytes.length);
  const body = await readAll(opened.reader as BlobReader);
  await fillsOver(house);
  return body;
}

function results(house: House): readonly string[] {
  return noticesOf(house, "fill").map(({ result, bytes }) => `${result} ${bytes}`);
}

/** Where upstream was asked to begin. */
function asked({ upstream }: House): readonly number[] {
  return upstream.calls.map((call) => Number(/from (\d+)/.exec(call)?.[1]));
}

t.test("it ends after a minute, and the next client goes on from its byte", async (t) => {
  const { house, digest, rest } = await left(t);
  await quiet();
  t.equal(house.blobs.fills.length, 1, "not before");
  t.equal(house.time.asked.at(-1), 60_000);
  t.same(results(house), []);
  house.time.elapse();
  rest.end();
  await fillsOver(house);
  t.same(results(house), [`resumable ${kept}`]);
  t.equal(house.upstream.sending, 0, "upstream sends no more");
  t.equal((await spoolFiles(house)).length, 2, "the bytes and what they are");
  t.equal(house.blobs.fillingBytes, kept, "they count");
  t.equal(await house.store.open(digest), undefined, "and are no blob");
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, kept], "one question, for the rest");
  t.equal(house.upstream.bytesSent, bytes.length, "no byte came twice");
  t.same(results(house), [`resumable ${kept}`, `committed ${bytes.length - kept}`]);
  t.equal(house.blobs.fillingBytes, 0);
  const stored = await house.store.open(digest);
  t.ok(stored && (await readAll(stored)).equals(bytes));
  await nothingLeft(t, house);
});

t.test("a client that comes back in time keeps it going", async (t) => {
  const { house, digest, rest } = await left(t);
  const waiting = house.time.waiting;
  const opened = await found(t, house, app, digest);
  t.equal(house.time.waiting, waiting - 1, "nobody counts the time any more");
  house.time.elapse();
  rest.open();
  t.ok((await readAll(opened.reader)).equals(bytes));
  await fillsOver(house);
  t.same(asked(house), [0]);
  t.same(results(house), [`committed ${bytes.length}`]);
  await nothingLeft(t, house);
});

t.test("4 MiB at most are fetched to their end; with more it ends when they have come", async (t) => {
  const { house, rest } = await left(t, 4 * mebibyte);
  house.time.elapse();
  await quiet();
  t.equal(house.blobs.fills.length, 1);
  rest.open();
  await fillsOver(house);
  t.same(results(house), [`resumable ${4 * mebibyte + house.upstream.chunkSize}`]);
});

t.test("one whose size nobody has said goes on", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob(app, bytes);
  const rest = theRest();
  house.upstream.transfers.push({ hold: { at: kept, until: rest.comes }, noSize: true });
  const opened = await found(t, house, app, digest);
  await eventually("the bytes have come", () => house.blobs.fills[0]?.received === kept);
  await opened.reader.close();
  house.time.elapse();
  rest.open();
  await fillsOver(house);
  t.same(results(house), [`committed ${bytes.length}`]);
});

t.test("so does one that is larger than what may be kept", async (t) => {
  const { house, rest } = await left(t, kept, { keptBytes: kept - 1 });
  house.time.elapse();
  rest.open();
  await fillsOver(house);
  t.same(results(house), [`committed ${bytes.length}`]);
  await nothingLeft(t, house);
});

t.test("so does one whose bytes come from another node", async (t) => {
  const known = new MemoryShared();
  const peers = new HousePeers();
  const house = await openHouse(t, { shared: known, peers, address: "http://10.0.0.2:5000" });
  const digest = house.upstream.addBlob(app, bytes);
  const a = "http://10.0.0.1:5000";
  const rest = theRest();
  const body = async function* (): AsyncGenerator<Buffer> {
    yield bytes.subarray(0, kept);
    await rest.comes;
    yield bytes.subarray(kept);
  };
  peers.open = async () => ({ kind: "found", size: bytes.length, offset: 0, body: body() });
  await known.node(a).leases.acquire(`blob:up/${digest}`);
  const opened = await found(t, house, app, digest);
  await eventually("the bytes have come", () => house.blobs.fills[0]?.received === kept);
  await opened.reader.close();
  house.time.elapse();
  rest.open();
  await fillsOver(house);
  t.same(results(house), [`committed ${bytes.length}`]);
});

t.test("a client that comes while it is being kept waits for that", async (t) => {
  const { house, digest, rest } = await left(t);
  const keeping = gate();
  house.store.faults.set("keep", () => keeping.opened);
  house.time.elapse();
  rest.end();
  await eventually("it is being kept", () => house.store.count("keep") === 1);
  const pulling = pull(t, house, digest);
  await quiet();
  t.same(asked(house), [0]);
  keeping.open();
  t.ok((await pulling).equals(bytes));
  t.same(asked(house), [0, kept]);
  await nothingLeft(t, house);
});

t.test("a store that cannot keep it loses only what has come", async (t) => {
  const { house, digest, rest } = await left(t);
  house.store.faults.set("keep", () => {
    throw new Error("no");
  });
  house.time.elapse();
  rest.end();
  await fillsOver(house);
  t.same(results(house), [`not_stored ${kept}`]);
  t.same(
    noticesOf(house, "store_error").map(({ op }) => op),
    ["keep"],
  );
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, 0]);
  await nothingLeft(t, house);
});

t.test("bytes that have changed since are not gone on from", async (t) => {
  for (const at of [0, kept / 2, kept - 1])
    await t.test(`the one at ${at}`, async (t) => {
      const { house, digest } = await ended(t);
      await flip(house, at);
      t.ok((await pull(t, house, digest)).equals(bytes), "clients that wait get the right ones");
      t.same(asked(house), [0, 0]);
      t.match(noticesOf(house, "store_error"), [{ op: "resume", code: "corrupt" }]);
      t.same(noticesOf(house, "upstream_error"), [], "upstream is not blamed");
      await nothingLeft(t, house);
    });
});

t.test("what only the digest finds wrong is never complete, and the next try begins anew", async (t) => {
  const { house, digest } = await ended(t);
  await flip(house, 1000);
  const part = await keptFile(house);
  const hash = createHash("sha256")
    .update(await readFile(part))
    .digest("hex");
  const fill = startFill(house, digest, {
    // As a record that was changed along with the bytes.
    resume: async () => {
      const found = await house.store.resume(digest, "up");
      return found && { ...found, record: { ...found.record, hash } };
    },
  });
  const reader = fill.follow();
  const { bytes: body, error } = await readUntilFailure(reader);
  t.ok(body.length < bytes.length);
  t.match(error, { code: "digest_mismatch" });
  await fill.done;
  t.equal(await house.store.open(digest), undefined);
  t.same(await spoolFiles(house), []);
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, kept, 0]);
});

for (const [what, transfer] of [
  ["says another size", { size: bytes.length + 1 }],
  ["says no size", { noSize: true }],
  ["answers beyond the range", { offset: kept + 1 }],
  ["has no such range", { failWith: new UpstreamError("range_refused", "416") }],
] as const)
  t.test(`upstream ${what}: from the first byte`, async (t) => {
    const { house, digest } = await ended(t);
    house.upstream.transfers.push(transfer);
    t.ok((await pull(t, house, digest)).equals(bytes));
    t.same(asked(house), [0, kept, 0]);
    t.same(results(house).at(-1), `committed ${bytes.length}`);
    await nothingLeft(t, house);
  });

t.test("upstream knows no ranges: what is here is not taken twice", async (t) => {
  const { house, digest } = await ended(t);
  house.upstream.transfers.push({ ignoreRange: true });
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, kept]);
  await nothingLeft(t, house);
});

t.test("the rest breaks off: it goes on as any transfer does", async (t) => {
  const { house, digest } = await ended(t);
  house.upstream.transfers.push({ cutAt: kept + mebibyte });
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, kept, kept + mebibyte]);
});

t.test("it can be left again, with more", async (t) => {
  const { house, digest } = await ended(t);
  const rest = theRest();
  house.upstream.transfers.push({ hold: { at: kept + mebibyte, until: rest.comes } });
  const opened = await found(t, house, app, digest);
  await eventually("more has come", () => house.blobs.fills[0]?.received === kept + mebibyte);
  await opened.reader.close();
  house.time.elapse();
  rest.end();
  await fillsOver(house);
  t.same(results(house), [`resumable ${kept}`, `resumable ${mebibyte}`]);
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, kept, kept + mebibyte]);
});

t.test("whom upstream refuses it gets nothing, and what was kept stays as old as it was", async (t) => {
  const { house, digest } = await ended(t);
  for (const refuse of ["denied", "absent"] as const) {
    house.clock.advance(hour / 3);
    house.upstream.transfers.push({ refuse });
    t.match(await openBlob(house, app, digest), { kind: refuse });
    await fillsOver(house);
    t.equal(house.blobs.fillingBytes, kept);
  }
  house.upstream.transfers.push({ failWith: new UpstreamError("server_error", "500") });
  await t.rejects(openBlob(house, app, digest), { code: "server_error" });
  await fillsOver(house);
  t.same(results(house), [`resumable ${kept}`], "nothing new has come");
  t.equal(house.blobs.fillingBytes, kept);
  house.clock.advance(hour / 3 + 1);
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.equal(asked(house).at(-1), 0, "an hour after it had come it is gone");
  await nothingLeft(t, house);
});

t.test("what came from one upstream is not for another", async (t) => {
  const { house, digest } = await ended(t);
  const another = new MemoryUpstream("another");
  another.addBlob(app, bytes);
  t.ok((await pull(t, house, digest, another)).equals(bytes));
  t.match(another.calls, [/from 0$/]);
});

t.test("without room for the rest it is thrown away", async (t) => {
  const { house, digest } = await ended(t, { maxSize: 20 * mebibyte, keepFree: 0.1 });
  house.disk.total = 100 * mebibyte;
  house.disk.free = 11 * mebibyte;
  t.ok((await pull(t, house, digest)).equals(bytes));
  t.same(asked(house), [0, 0]);
  await nothingLeft(t, house);
});

async function keptFile({ directory }: House): Promise<string> {
  const spool = join(directory, "spool");
  return join(spool, (await readdir(spool)).find((name) => name.endsWith(".part")) ?? "");
}

/** Changes one bit of what is kept. */
async function flip(house: House, at: number): Promise<void> {
  const part = await keptFile(house);
  const body = await readFile(part);
  body[at] = (body[at] as number) ^ 1;
  await writeFile(part, body);
}
