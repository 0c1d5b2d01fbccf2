// Where fills take their bytes from when nodes share a blob store, leases and each other: one transfer from upstream
// for all nodes, and every failure of what is shared is passed over.
import t, { type Test } from "tap";
import { StoreError } from "../../../src/ports/blobs.ts";
import { remoteRepository, UpstreamError } from "../../../src/ports/upstream.ts";
import {
  app,
  bytes,
  fillsOver,
  found,
  openBlob,
  other,
  stranger,
  summary,
} from "../../fixtures/blob-clients.ts";
import {
  type CacheFixture,
  type CacheFixtureOptions,
  mebibyte,
  noticesOf,
  openCache,
  readAll,
  readBytes,
  readUntilFailure,
} from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate, quiet } from "../../fixtures/manual-time.ts";
import { MemoryShared } from "../../fixtures/memory-shared.ts";
import { MemoryUpstream, sha256 } from "../../fixtures/memory-upstream.ts";
import { MemoryPeers, MemorySharedBlobs } from "../../fixtures/neighbours.ts";

const digest = sha256(bytes);
const size = bytes.length;
const fromS3 = { kind: "found", result: "hit", source: "s3", size };
const missed = { kind: "found", result: "miss", source: "upstream:up", size };
const joined = { kind: "found", result: "joined", source: "upstream:up", size };

/** A cache whose upstream has the blob in two repositories. */
async function cache(t: Test, options: CacheFixtureOptions): Promise<CacheFixture> {
  const made = await openCache(t, options);
  for (const repository of [app, other]) made.upstream.addBlob(repository, bytes);
  return made;
}

/** Node `name` of a datacenter that shares everything; `address` is where the others find it. */
function node(t: Test, shared: Neighbours, name: string, address?: string): Promise<CacheFixture> {
  const { blobs, known, peers } = shared;
  return cache(t, { name, shared: known, sharedBlobs: blobs, peers, ...(address && { address }) });
}

interface Neighbours {
  readonly blobs: MemorySharedBlobs;
  readonly known: MemoryShared;
  readonly peers: MemoryPeers;
}

function neighbours(): Neighbours {
  return { blobs: new MemorySharedBlobs(), known: new MemoryShared(), peers: new MemoryPeers() };
}

/** Reads the blob as a client does and checks every byte. */
async function pull(t: Test, from: CacheFixture, repository = app) {
  const opened = await found(t, from, repository, digest);
  t.ok((await readAll(opened.reader)).equals(bytes), "the bytes are right");
  await fillsOver(from);
  return summary(opened);
}

/** The waits for a node that has the lease and cannot be read from. */
async function letProbesPass(from: CacheFixture): Promise<void> {
  for (let probe = 0; probe < 10; probe++) {
    await quiet();
    from.time.elapse();
  }
}

/** The repository may read the blob, though it is not here. */
function link(from: CacheFixture, repository = app): Promise<void> {
  return from.access.link(remoteRepository(from.upstream, repository), [{ digest, size }]);
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

t.test("few wrong bytes there fail no pull, also where they cannot be removed", async (t) => {
  const shared = neighbours();
  const b = await node(t, shared, "b");
  await link(b);
  const wrong = Buffer.from("a page of a proxy");
  shared.blobs.kept.set(digest, { bytes: wrong, mediaType: undefined, modifiedAt: shared.blobs.now });
  shared.blobs.fault = (call) => {
    if (call.startsWith("delete")) throw new StoreError("unavailable", "not allowed");
  };
  t.same(await pull(t, b), missed, "nothing was announced: upstream is asked");
  await eventually("it was tried", () => shared.blobs.count("delete") === 1);
  t.same(noticesOf(b, "upstream_error"), [], "upstream is not blamed");
  const message = `shared sent ${sha256(wrong).slice(7)} for ${digest}`;
  t.same(noticesOf(b, "store_error"), [{ kind: "store_error", op: "nearby", code: "io", message }]);
  await b.store.delete(digest);
  const opens = shared.blobs.count("open");
  await pull(t, b);
  t.equal(shared.blobs.count("open"), opens, "nor is it asked there again");
});

t.test("wrong sizes there: HEAD and GET ask upstream, which is not blamed", async (t) => {
  const shared = neighbours();
  const b = await cache(t, { sharedBlobs: shared.blobs });
  await link(b);
  const wrong = { bytes: Buffer.alloc(100_000), mediaType: undefined, modifiedAt: shared.blobs.now };
  shared.blobs.kept.set(digest, wrong);
  t.match(await b.blobs.head(remoteRepository(b.upstream, app), digest), {
    kind: "found",
    size,
    source: "upstream:up",
  });
  t.same(await pull(t, b), missed);
  t.same(noticesOf(b, "upstream_error"), []);
});

t.test("wrong bytes of another node: upstream is asked, and not blamed", async (t) => {
  const shared = neighbours();
  const a = "http://10.0.0.1:5000";
  const b = await node(t, shared, "b", "http://10.0.0.2:5000");
  const wrong = randomBytesFor("another", 1_000);
  const body = async function* (): AsyncGenerator<Buffer> {
    yield wrong;
  };
  shared.peers.open = async () => ({ kind: "found", size: wrong.length, offset: 0, body: body() });
  await shared.known.node(a).leases.acquire(`blob:up/${digest}`);
  const pulled = pull(t, b);
  await eventually("it has seen the lie", () => noticesOf(b, "store_error").length === 1);
  await letProbesPass(b);
  t.same(await pulled, missed);
  t.same(noticesOf(b, "upstream_error"), []);
});

t.test("a shared store that is slow is left once, by one node for all, at the byte it reached", async (t) => {
  const shared = neighbours();
  const nodes = await Promise.all(
    ["1", "2", "3"].map(async (name) => {
      const address = `http://10.0.0.${name}:5000`;
      const made = await node(t, shared, name, address);
      shared.peers.caches.set(address, made);
      await link(made);
      return made;
    }),
  );
  shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
  // 16 KiB in 3 s.
  shared.blobs.beforeChunk = () => {
    for (const { clock } of nodes) clock.advance(1_000);
  };
  const pulls = nodes.map((made) => pull(t, made));
  await Promise.all(pulls);
  const asked = nodes.flatMap(({ upstream }) => upstream.calls.filter((call) => call.startsWith("GET blob")));
  t.equal(asked.length, 1, "one transfer from upstream for three nodes");
  t.match(asked[0], /from [1-9]/, "from where it was");
});

for (const ends of ["is slow", "breaks"] as const)
  t.test(
    `begun for a client in a drill, a shared store that ${ends}: a follower's upstream goes on`,
    async (t) => {
      const shared = neighbours();
      const b = await node(t, shared, "b");
      shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
      const drilled = Object.assign(new MemoryUpstream(), { cut: "drill" as const, available: false });
      drilled.fault = () => {
        throw new UpstreamError("drill", "by the test");
      };
      const second = new MemoryUpstream("second");
      second.addBlob(other, bytes);
      const remotes = [remoteRepository(drilled, app), remoteRepository(second, other)];
      for (const remote of remotes) await b.access.link(remote, [{ digest, size }]);
      const joined = gate();
      shared.blobs.beforeChunk = async () => {
        await joined.opened;
        // 16 KiB in a second.
        if (ends === "is slow") b.clock.advance(1_000);
      };
      if (ends === "breaks") shared.blobs.cutAt = 300_000;
      const opened = [];
      for (const remote of remotes) {
        const one = await b.blobs.open(remote, digest);
        if (one.kind !== "found") throw new Error(one.kind);
        opened.push(one.reader);
      }
      joined.open();
      for (const read of await Promise.all(opened.map((reader) => readAll(reader)))) t.ok(read.equals(bytes));
      t.equal(second.calls.length, 1);
      t.match(second.calls[0], new RegExp(`^GET blob ${other} ${digest} from [1-9]`));
      await fillsOver(b);
    },
  );

t.test(
  "begun for a client in a drill: that a follower's upstream has no such blob says nothing of its own",
  async (t) => {
    const shared = neighbours();
    const { blobs: sharedBlobs, known } = shared;
    const b = await cache(t, { name: "b", shared: known, sharedBlobs, negativeTtl: 10_000 });
    shared.blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: shared.blobs.now });
    const away = Object.assign(new MemoryUpstream(), { cut: "drill" as const, available: false });
    away.fault = () => {
      throw new UpstreamError("drill", "by the test");
    };
    const second = new MemoryUpstream("second");
    const remotes = [remoteRepository(away, app), remoteRepository(second, other)] as const;
    for (const remote of remotes) await b.access.link(remote, [{ digest, size }]);
    const gone = gate();
    shared.blobs.fault = async (call) => {
      if (!call.startsWith("open")) return;
      await gone.opened;
      throw new StoreError("unavailable", "by the test");
    };
    const opening = [];
    for (const [at, remote] of remotes.entries()) {
      opening.push(b.blobs.open(remote, digest));
      await eventually("it follows", () => b.blobs.fills[0]?.followers === at + 1);
    }
    gone.open();
    t.match(await Promise.allSettled(opening), [
      { status: "rejected", reason: { code: "drill" } },
      { status: "fulfilled", value: { kind: "absent" } },
    ]);
    shared.blobs.fault = undefined;
    shared.blobs.kept.clear();
    t.ok(await b.access.linked(remotes[0], digest), "what its own has shown still counts");
    t.same(await pull(t, b), missed, "its own is asked, and has it");
  },
);

t.test("a node that is slow is left once: one other asks upstream for all of them", async (t) => {
  const shared = neighbours();
  const slow = "http://10.0.0.9:5000";
  const nodes = await Promise.all(
    ["1", "2"].map(async (name) => {
      const address = `http://10.0.0.${name}:5000`;
      const made = await cache(t, { name, shared: shared.known, peers: shared.peers, address });
      shared.peers.caches.set(address, made);
      await link(made);
      return made;
    }),
  );
  const dripping = async function* (from: number): AsyncGenerator<Buffer> {
    for (let at = from; at < size; at += 1_000) {
      for (const { clock } of nodes) clock.advance(1_000);
      await quiet(1);
      yield bytes.subarray(at, Math.min(at + 1_000, size));
    }
  };
  const open = shared.peers.open.bind(shared.peers);
  shared.peers.open = async (...asked) =>
    asked[0] === slow
      ? { kind: "found" as const, size, offset: asked[3], body: dripping(asked[3]) }
      : await open(...asked);
  await shared.known.node(slow).leases.acquire(`blob:up/${digest}`);
  await Promise.all(nodes.map((made) => pull(t, made)));
  const asked = nodes.flatMap(({ upstream }) => upstream.calls.filter((call) => call.startsWith("GET blob")));
  t.equal(asked.length, 1);
  t.match(asked[0], /from [1-9]/);
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
  t.same(await b.blobs.head(remoteRepository(b.upstream, app), digest), fromS3);
  t.same(b.upstream.calls, []);
});

t.test("a node reads what another is fetching, while it is fetched", async (t) => {
  const shared = neighbours();
  const [a, b] = [await node(t, shared, "a", "http://a"), await node(t, shared, "b", "http://b")];
  shared.peers.caches.set("http://a", a);
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

t.test("what another node has whole is read from there, also while upstream is away", async (t) => {
  const { known, peers } = neighbours();
  const [first, second] = ["http://a", "http://b"] as const;
  const a = await cache(t, { name: "a", shared: known, peers, address: first });
  peers.caches.set(first, a);
  t.same(await pull(t, a), missed);
  await eventually("a has given back its lease", () => known.leases.size === 0);
  const nodes = { others: () => ["http://gone", first] };
  const b = await cache(t, { name: "b", shared: known, peers, nodes, address: second });
  b.upstream.fault = () => {
    throw new UpstreamError("unreachable", "no upstream today");
  };
  await link(b);
  t.same(await pull(t, b), joined);
  t.same(b.upstream.calls, [], "its upstream was not asked");
  t.equal(peers.calls.length, 3, "each node whether it has the blob, then the one that has");
  await eventually("b has given back its lease", () => known.leases.size === 0);
  t.same(await pull(t, b), { kind: "found", result: "hit", source: "disk", size });
});

t.test("what no other node has comes from upstream, and what breaks off at one goes on there", async (t) => {
  const { known, peers } = neighbours();
  const a = await cache(t, { name: "a", shared: known, peers, address: "http://a" });
  peers.caches.set("http://a", a);
  const nodes = { others: () => ["http://a", "http://gone"] };
  const b = await cache(t, { name: "b", shared: known, peers, nodes, address: "http://b" });
  t.same(await pull(t, b), missed);
  t.same(b.upstream.calls, [`GET blob ${app} ${digest} from 0`]);
  await eventually("b has given back its lease", () => known.leases.size === 0);
  const third = { others: () => ["http://b"] };
  const c = await cache(t, { name: "c", shared: known, peers, nodes: third, address: "http://c" });
  peers.caches.set("http://b", b);
  await link(c);
  peers.cutAt = 200_000;
  t.same(await pull(t, c), joined);
  t.same(c.upstream.calls, [`GET blob ${app} ${digest} from 200000`]);
});

t.test("what the store that all share does not have, or no more, is read from another node", async (t) => {
  const shared = neighbours();
  const { blobs, known, peers } = shared;
  const a = await node(t, shared, "a", "http://a");
  peers.caches.set("http://a", a);
  t.same(await pull(t, a), missed);
  await eventually("the blob is shared", () => blobs.kept.has(digest));
  await eventually("a has given back its lease", () => known.leases.size === 0);
  const b = await cache(t, {
    ...{ name: "b", shared: known, sharedBlobs: blobs, peers, address: "http://b" },
    nodes: { others: () => ["http://a"] },
  });
  await link(b);
  blobs.kept.clear();
  t.same(await pull(t, b), joined);
  t.same(b.upstream.calls, [], "its upstream was not asked");
  await b.store.delete(digest);
  await eventually("b has given back its lease", () => known.leases.size === 0);
  const asked = peers.calls.length;
  blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: blobs.now });
  t.same(await pull(t, b), fromS3);
  t.equal(peers.calls.length, asked, "no node is asked for what the store has");
});

t.test("without leases, too, what another node has whole is read from there", async (t) => {
  const { peers } = neighbours();
  const a = await cache(t, { name: "a" });
  peers.caches.set("http://a", a);
  const b = await cache(t, { name: "b", peers, nodes: { others: () => ["http://a"] } });
  t.same(await pull(t, a), missed);
  t.same(await pull(t, b), joined);
  t.same(b.upstream.calls, []);
});

t.test("nodes that begin at once do not wait for each other", async (t) => {
  const { known, peers } = neighbours();
  const nodeAt = async (name: string, other: string, shared?: MemoryShared) => {
    const made = await cache(t, {
      ...{ name, peers, nodes: { others: () => [`http://${other}`] }, address: `http://${name}` },
      ...(shared && { shared }),
    });
    peers.caches.set(`http://${name}`, made);
    await link(made);
    return made;
  };
  const sharing = [await nodeAt("a", "b", known), await nodeAt("b", "a", known)];
  const apart = [await nodeAt("c", "d"), await nodeAt("d", "c")];
  const pulled = Promise.all([...sharing, ...apart].map((each) => pull(t, each)));
  let ended = false;
  void pulled.then(() => {
    ended = true;
  });
  await eventually("all have the blob", () => ended);
  const transfers = (of: CacheFixture[]) =>
    of.reduce((sum, { upstream }) => sum + upstream.count("GET blob"), 0);
  t.equal(transfers(sharing), 1);
  t.ok(transfers(apart) <= 2);
});

t.test("a node that hangs costs one fill a moment, and the next ones nothing for a while", async (t) => {
  const { known, peers } = neighbours();
  const nodes = { others: () => ["http://hung"] };
  const b = await cache(t, { name: "b", shared: known, peers, nodes, address: "http://b" });
  let asked = 0;
  peers.has = () => {
    asked++;
    return new Promise(() => {});
  };
  const first = pull(t, b);
  await eventually("it waits", () => b.time.asked.includes(1_000));
  t.same(b.upstream.calls, []);
  b.time.elapse();
  t.same(await first, missed);
  const again = async () => {
    await b.store.delete(digest);
    await eventually("the lease is given back", () => known.leases.size === 0);
    return await pull(t, b);
  };
  b.clock.advance(9_000);
  t.same(await again(), missed);
  t.equal(asked, 1);
  b.clock.advance(1_001);
  const later = again();
  await eventually("it is asked again", () => asked === 2);
  await eventually("it is waited for", () => b.time.waiting > 0);
  b.time.elapse();
  t.same(await later, missed);
});

t.test("the node that fetches dies: another goes on where it broke off", async (t) => {
  const shared = neighbours();
  const [a, b] = [await node(t, shared, "a", "http://a"), await node(t, shared, "b", "http://b")];
  shared.peers.caches.set("http://a", a);
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

t.test("without leases each node fetches for itself", async (t) => {
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
  t.same(await a.blobs.openForPeer(remoteRepository(a.upstream, app), digest), { kind: "absent" });
  t.same(a.upstream.calls, []);
  await pull(t, a);
  const refused = await a.blobs.openForPeer(remoteRepository(a.upstream, stranger), digest);
  t.same(refused, { kind: "absent" }, "upstream does not know it there");
  const granted = await a.blobs.openForPeer(remoteRepository(a.upstream, app), digest);
  t.match(granted, { kind: "found", result: "hit" });
  if (granted.kind === "found") t.ok((await readAll(granted.reader)).equals(bytes));
});

t.test("what is paced comes in one transfer; what a client waits for may come in several", async (t) => {
  const cache = await openCache(t);
  const { upstream } = cache;
  upstream.segments = 16;
  const pace = { came: () => undefined };
  const job = { key: "job", exempt: false, background: true, pace } as const;
  const asked = async (name: string, onBehalfOf: typeof job | undefined) => {
    const large = upstream.addBlob(app, randomBytesFor(name, 4 * mebibyte));
    const opened = await cache.blobs.open({ ...remoteRepository(upstream, app), onBehalfOf }, large, "whole");
    if (opened.kind !== "found") throw new Error(opened.kind);
    await readAll(opened.reader);
    await fillsOver(cache);
    return upstream.calls.filter((call) => call.includes(`blob ${app} ${large}`))[0]?.split(" from ")[1];
  };
  t.equal(await asked("paced", job), "0");
  t.equal(await asked("not paced", undefined), `0 to ${2 * mebibyte}`);
  t.same(noticesOf(cache, "segments"), [], "nothing is learned of upstream");
});
