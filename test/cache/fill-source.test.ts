// Where fills take their bytes from when nodes share a blob store, leases and each other: one transfer from upstream
// for all nodes, and every failure of what is shared is passed over.
import t, { type Test } from "tap";
import { StoreError } from "../../src/cache/ports.ts";
import {
  app,
  bytes,
  fillsOver,
  found,
  openBlob,
  other,
  stranger,
  summary,
} from "../fixtures/blob-clients.ts";
import {
  type House,
  type HouseOptions,
  openHouse,
  readAll,
  readBytes,
  readUntilFailure,
} from "../fixtures/cache-house.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { MemoryShared } from "../fixtures/memory-shared.ts";
import { sha256 } from "../fixtures/memory-upstream.ts";
import { HousePeers, MemorySharedBlobs } from "../fixtures/neighbours.ts";

const digest = sha256(bytes);
const size = bytes.length;
const fromS3 = { kind: "found", result: "hit", source: "s3", size };
const missed = { kind: "found", result: "miss", source: "upstream:up", size };
const joined = { kind: "found", result: "joined", source: "upstream:up", size };

/** A house whose upstream has the blob in two repositories. */
async function house(t: Test, options: HouseOptions): Promise<House> {
  const made = await openHouse(t, options);
  for (const repository of [app, other]) made.upstream.addBlob(repository, bytes);
  return made;
}

/** Node `name` of a datacenter that shares everything; `address` is where the others find it. */
function node(t: Test, shared: Neighbours, name: string, address?: string): Promise<House> {
  const { blobs, known, peers } = shared;
  return house(t, { name, shared: known, sharedBlobs: blobs, peers, ...(address && { address }) });
}

interface Neighbours {
  readonly blobs: MemorySharedBlobs;
  readonly known: MemoryShared;
  readonly peers: HousePeers;
}

function neighbours(): Neighbours {
  return { blobs: new MemorySharedBlobs(), known: new MemoryShared(), peers: new HousePeers() };
}

/** Reads the blob as a client does and checks every byte. */
async function pull(t: Test, from: House, repository = app) {
  const opened = await found(t, from, repository, digest);
  t.ok((await readAll(opened.reader)).equals(bytes), "the bytes are right");
  await fillsOver(from);
  return summary(opened);
}

/** The repository may read the blob, though it is not here. */
function link(from: House, repository = app): Promise<void> {
  return from.access.link(from.upstream, repository, [{ digest, size }]);
}

t.test("what one node has fetched the others read from the shared store, and keep", async (t) => {
  const shared = neighbours();
  const [a, b] = [await node(t, shared, "a"), await node(t, shared, "b")];
  t.same(await pull(t, a), missed);
  await eventually("the blob is shared", () => shared.blobs.kept.has(digest));
  t.ok(shared.blobs.kept.get(digest)?.bytes.equals(bytes));
  await eventually("the lease is given back", () => shared.known.leases.size === 0);
  await link(b);
  t.same(await pull(t, b), fromS3);
  t.same(await pull(t, b), { ...fromS3, source: "disk" }, "the second time from its own disk");
  t.same(b.upstream.calls, [], "its upstream was not asked");
  t.equal(shared.blobs.count("put"), 1, "and nothing was uploaded again");
});

t.test(
  "a repository without a link reads nothing from the shared store that upstream denies it",
  async (t) => {
    const shared = neighbours();
    const b = await node(t, shared, "b");
    shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
    t.same(await openBlob(b, stranger, digest), { kind: "absent" });
    t.equal(shared.blobs.count("open"), 0, "it is not even opened");
    t.equal(b.upstream.count(`HEAD blob ${stranger}`), 1);
    t.same(await pull(t, b, other), fromS3, "upstream's word opens it");
    t.same(b.upstream.count("GET blob"), 0);
  },
);

t.test(
  "a shared store that breaks in the middle: the rest comes from upstream, each byte once",
  async (t) => {
    const shared = neighbours();
    const b = await node(t, shared, "b");
    await link(b);
    shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
    shared.blobs.cutAt = 300_000;
    t.same(await pull(t, b), fromS3, "the answer began there");
    t.same(b.upstream.calls, [`GET blob ${app} ${digest} from 300000`]);
    t.equal(shared.blobs.sending, 0);
    t.equal(shared.known.leases.size, 0);
  },
);

t.test("a shared store that fails costs one question a fill, and nothing is lost", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  shared.blobs.fault = () => {
    throw new Error("no store today");
  };
  await link(b);
  t.same(await pull(t, b), missed);
  await eventually("the upload is to be tried again", () => b.publisher?.pending === 1);
  t.equal(shared.blobs.count("put"), 1);
  t.equal(shared.blobs.count("open"), 1);
  shared.blobs.fault = undefined;
  await eventually("somebody waits to try again", () => b.time.waiting > 0);
  b.time.elapse();
  await eventually("the blob is shared", () => shared.blobs.kept.has(digest));
});

t.test("wrong bytes in the shared store never make a complete blob, and are removed there", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await link(b);
  const wrong = Buffer.from(bytes);
  wrong.writeUInt8(wrong.readUInt8(0) ^ 1, 0);
  shared.blobs.kept.set(digest, { bytes: wrong, mediaType: undefined, modifiedAt: shared.blobs.now });
  const opened = await found(t, b, app, digest);
  const { bytes: got, error } = await readUntilFailure(opened.reader);
  t.match(error, { code: "digest_mismatch" });
  t.ok(got.length < size);
  await eventually("the wrong bytes are gone", () => !shared.blobs.kept.has(digest));
  t.same(await pull(t, b), missed);
});

t.test("a lost answer about the lease is asked for again, before the long way is taken twice", async (t) => {
  const shared = neighbours();
  const address = "http://10.0.0.1:5000";
  const a = await node(t, shared, "a", address);
  shared.known.lostAnswers = 1;
  let asked = 0;
  const { leases } = shared.known;
  shared.blobs.fault = (call) => {
    if (call.startsWith("open") && leases.get(`blob:up/${digest}`)?.address === address) asked++;
  };
  t.same(await pull(t, a), missed);
  t.equal(asked, 1, "with the lease it looked once more whether another node had stored the blob meanwhile");
});

t.test("wrong bytes that cannot be removed there fail one pull, not every one", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await link(b);
  const wrong = Buffer.from("a page of a proxy");
  shared.blobs.kept.set(digest, { bytes: wrong, mediaType: undefined, modifiedAt: shared.blobs.now });
  shared.blobs.fault = (call) => {
    if (call.startsWith("delete")) throw new StoreError("unavailable", "not allowed");
  };
  const opened = await found(t, b, app, digest);
  const { error } = await readUntilFailure(opened.reader);
  t.match(error, { code: "digest_mismatch" });
  await eventually("it was tried", () => shared.blobs.count("delete") === 1);
  t.same(await pull(t, b), missed);
});

t.test("a blob long unused is marked as used when it is read", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await link(b);
  const old = b.clock.now - 25 * 3600_000;
  shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: old });
  await pull(t, b);
  t.equal(shared.blobs.count(`refresh ${digest}`), 1);
});

t.test("HEAD is answered from the shared store", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await link(b);
  shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
  t.same(await b.blobs.head(b.upstream, app, digest), fromS3);
  t.same(b.upstream.calls, []);
});

t.test("a node reads what another is fetching, while it is fetched", async (t) => {
  const shared = neighbours();
  const [a, b] = [await node(t, shared, "a", "http://a"), await node(t, shared, "b", "http://b")];
  shared.peers.houses.set("http://a", a);
  const held = gate();
  a.upstream.transfers.push({ hold: { at: 500_000, until: held.opened } });
  const first = await found(t, a, app, digest);
  const second = await found(t, b, app, digest);
  t.same(summary(second), joined, "b has joined a's fill");
  t.ok((await readBytes(second.reader, { end: 400_000 })).equals(bytes.subarray(0, 400_000)));
  held.open();
  t.ok((await readAll(second.reader)).equals(bytes));
  await readAll(first.reader);
  await Promise.all([fillsOver(a), fillsOver(b)]);
  t.equal(a.upstream.calls.length + b.upstream.calls.length, 1, "one transfer for both");
  await eventually("a gives back its lease", () => shared.known.leases.size === 0);
  t.equal(shared.blobs.count("put"), 1, "the node that fetched it has uploaded it");
});

t.test("the node that fetches dies: another goes on where it broke off", async (t) => {
  const shared = neighbours();
  const [a, b] = [await node(t, shared, "a", "http://a"), await node(t, shared, "b", "http://b")];
  shared.peers.houses.set("http://a", a);
  const held = gate();
  a.upstream.transfers.push({ hold: { at: 500_000, until: held.opened } });
  const first = await found(t, a, app, digest);
  shared.peers.cutAt = 200_000;
  const second = await found(t, b, app, digest);
  const reading = readAll(second.reader);
  await eventually("b looks at the lease again", () => b.time.asked.filter((ms) => ms === 500).length > 1);
  shared.known.expire(`blob:up/${digest}`);
  t.ok((await reading).equals(bytes));
  t.same(b.upstream.calls, [`GET blob ${app} ${digest} from 200000`]);
  t.equal(shared.peers.calls.length, 1, "a peer that broke off is not asked again");
  held.open();
  await readAll(first.reader);
});

t.test("a node that cannot be read from is waited for a while, then upstream is asked", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await shared.known.node().leases.acquire(`blob:up/${digest}`);
  t.same(await pull(t, b), missed);
  t.same(b.time.asked.filter((ms) => ms === 500).length, 10, "five seconds at most");
});

t.test("what another node has stored meanwhile is read from the shared store", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await link(b);
  const turn = await shared.known.node().leases.acquire(`blob:up/${digest}`);
  b.time.instant = () => false;
  const opening = found(t, b, app, digest);
  await eventually("b waits", () => b.time.waiting > 0);
  shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
  if ("lease" in turn) await turn.lease.release();
  t.same(summary(await opening), fromS3, "it hears of it before its time has come");
  t.same(b.upstream.calls, []);
});

t.test("without leases everybody fetches for himself", async (t) => {
  const shared = neighbours();
  shared.known.working = false;
  const [a, b] = [await node(t, shared, "a", "http://a"), await node(t, shared, "b")];
  shared.blobs.fault = () => {
    throw new Error("no store either");
  };
  t.same(await pull(t, a), missed);
  t.same(await pull(t, b), missed);
});

t.test("a peer never makes this node start a download, and reads nothing it may not", async (t) => {
  const shared = neighbours();
  const a = await node(t, shared, "a");
  t.same(await a.blobs.openForPeer(a.upstream, app, digest), { kind: "absent" });
  t.same(a.upstream.calls, []);
  await pull(t, a);
  const refused = await a.blobs.openForPeer(a.upstream, stranger, digest);
  t.same(refused, { kind: "absent" }, "upstream does not know it there");
  const granted = await a.blobs.openForPeer(a.upstream, app, digest);
  t.match(granted, { kind: "found", result: "hit" });
  if (granted.kind === "found") t.ok((await readAll(granted.reader)).equals(bytes));
});
