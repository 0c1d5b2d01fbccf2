// Where a fill goes on when mirrors of other datacenters are among its places.
import t, { type Test } from "tap";
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
  noticesOf,
  openCache,
  readAll,
  readUntilFailure,
} from "../../fixtures/cache-fixture.ts";
import { eventually, gate } from "../../fixtures/manual-time.ts";
import { sha256 } from "../../fixtures/memory-upstream.ts";
import { MemorySharedBlobs } from "../../fixtures/neighbours.ts";
import { MemorySibling } from "../../fixtures/siblings.ts";

const digest = sha256(bytes);
const size = bytes.length;
const missed = { kind: "found", result: "miss", source: "upstream:up", size };
const near = (name: string) => ({ ...missed, source: `sibling:${name}` });

/** A cache with an upstream that has the blob in two repositories, and siblings that hold it, by name. */
async function cacheWith(t: Test, ...names: string[]) {
  const siblings = names.map((name) => {
    const sibling = new MemorySibling(name);
    sibling.timeout = 5_000;
    sibling.blobs.set(digest, bytes);
    return sibling;
  });
  const sharedBlobs = new MemorySharedBlobs();
  const cache = await openCache(t, { siblings, sharedBlobs });
  for (const repository of [app, other]) cache.upstream.addBlob(repository, bytes);
  return { cache, siblings: siblings as [MemorySibling, ...MemorySibling[]], sharedBlobs };
}

function link({ access, upstream }: CacheFixture, stated = size): Promise<void> {
  return access.link(remoteRepository(upstream, app), [{ digest, size: stated }]);
}

async function pull(t: Test, cache: CacheFixture, repository = app) {
  const opened = await found(t, cache, repository, digest);
  t.ok((await readAll(opened.reader)).equals(bytes), "the bytes are right");
  await fillsOver(cache);
  return summary(opened);
}

function asked(from = 0): string {
  return `${app} ${digest} from ${from}`;
}

t.test(
  "what a sibling holds comes from there, is kept here, and is shared with the other nodes",
  async (t) => {
    const { cache, siblings, sharedBlobs } = await cacheWith(t, "b");
    await link(cache);
    t.same(await pull(t, cache), near("b"));
    t.same(cache.upstream.calls, [], "upstream is asked for nothing: the right is known");
    t.same(siblings[0].calls, [asked()]);
    t.equal(siblings[0].sending, 0);
    t.match(await found(t, cache, app, digest), { result: "hit", source: "disk" });
    await eventually("it is shared", () => sharedBlobs.kept.has(digest));
    t.match(noticesOf(cache, "sibling"), [{ sibling: "b", result: "hit" }]);
    t.same(noticesOf(cache, "upstream_bytes"), []);
  },
);

t.test("without a link upstream says first that the repository has it, by HEAD", async (t) => {
  const { cache } = await cacheWith(t, "b");
  t.same(await pull(t, cache), near("b"));
  t.same(cache.upstream.calls, [`HEAD blob ${app} ${digest}`]);
});

t.test("what upstream does not let the repository read is read at no sibling", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  t.same(await openBlob(cache, stranger, digest), { kind: "absent" });
  t.equal(cache.upstream.count("GET"), 0);
  t.equal(siblings[0].sending, 0, "and what the sibling had begun to send has ended");
  t.match(noticesOf(cache, "sibling"), [], "it has served nothing");
  cache.upstream.deny(stranger);
  t.match(await openBlob(cache, stranger, digest), { kind: "denied" });
  t.equal(siblings[0].sending, 0);
});

t.test(
  "while upstream is away: what is linked comes from a sibling, everything else from nowhere",
  async (t) => {
    const { cache } = await cacheWith(t, "b");
    cache.upstream.available = false;
    cache.upstream.fault = () => {
      throw new UpstreamError("circuit_open", "by the test");
    };
    await t.rejects(openBlob(cache, other, digest), { code: "circuit_open" });
    await link(cache);
    t.same(await pull(t, cache), near("b"));
  },
);

t.test("siblings that do not have it are asked once each, in turn; then upstream is", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b", "c");
  for (const sibling of siblings) sibling.blobs.clear();
  await link(cache);
  t.same(await pull(t, cache), missed);
  for (const sibling of siblings) t.equal(sibling.calls.length, 1);
  t.same(cache.upstream.calls, [`GET blob ${app} ${digest} from 0`]);
  t.same(
    noticesOf(cache, "sibling").map(({ sibling, result }) => `${sibling} ${result}`),
    ["b miss", "c miss"],
  );
});

t.test(
  "one that has no connection left has not failed: upstream is asked, and it the next time",
  async (t) => {
    const { cache, siblings } = await cacheWith(t, "b");
    await link(cache);
    siblings[0].room = false;
    t.same(await pull(t, cache), missed);
    t.same(siblings[0].calls, []);
    t.same(noticesOf(cache, "sibling"), []);
    siblings[0].room = true;
    await cache.store.delete(digest);
    t.same(await pull(t, cache), near("b"));
  },
);

t.test("one that takes too long is the last that is asked", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b", "c");
  await link(cache);
  const never = gate();
  siblings[0].fault = () => never.opened;
  const pulling = pull(t, cache);
  await eventually("it is asked", () => siblings[0].calls.length === 1);
  cache.time.elapse();
  t.same(await pulling, missed);
  t.equal(siblings[1]?.calls.length, 0);
  never.open();
  await eventually("what it then sends has ended", () => siblings[0].sending === 0);
  t.match(noticesOf(cache, "sibling"), [{ sibling: "b", result: "failed", message: /within 5000 ms/ }]);
});

t.test(
  "one that breaks in the middle: the next one goes on from that byte, then upstream, each byte once",
  async (t) => {
    const { cache, siblings } = await cacheWith(t, "b", "c");
    await link(cache);
    for (const [at, sibling] of siblings.entries())
      sibling.pace = (position) => {
        if (position >= (at + 1) * 320_000) throw new UpstreamError("truncated", "by the test");
      };
    t.same(await pull(t, cache), near("b"), "the answer began there");
    t.match(siblings[1]?.calls, [asked(327_680)]);
    t.match(cache.upstream.calls, [`GET blob ${app} ${digest} from ${327_680 + 20 * 16_384}`]);
    t.equal(cache.upstream.bytesSent, size - 327_680 - 20 * 16_384);
    t.same(
      noticesOf(cache, "sibling").map(({ sibling, result }) => `${sibling} ${result}`),
      ["b hit", "b failed", "c hit", "c failed"],
    );
  },
);

t.test("siblings that break before the first byte: upstream is asked, and nobody waits", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b", "c", "d");
  await link(cache);
  for (const sibling of siblings)
    sibling.pace = () => {
      throw new UpstreamError("truncated", "by the test");
    };
  const opened = await found(t, cache, app, digest);
  t.ok((await readAll(opened.reader)).equals(bytes));
  await fillsOver(cache);
  t.same(cache.upstream.calls, [`GET blob ${app} ${digest} from 0`]);
  for (const sibling of siblings) t.equal(sibling.calls.length, 1, "one question each");
  t.notOk(cache.time.asked.includes(100), "without a pause between them");
});

t.test("siblings that bring little and break take no attempt from upstream", async (t) => {
  const names = ["b", "c", "d", "e", "f"];
  const { cache, siblings } = await cacheWith(t, ...names);
  await link(cache);
  for (const [at, sibling] of siblings.entries())
    sibling.pace = (position) => {
      if (position > at * 16_384) throw new UpstreamError("truncated", "by the test");
    };
  t.same(await pull(t, cache), near("b"));
  t.same(cache.upstream.calls, [`GET blob ${app} ${digest} from ${names.length * 16_384}`]);
});

t.test(
  "while upstream is away a sibling that fails, or sends what is not usable, hides no other",
  async (t) => {
    const { cache, siblings } = await cacheWith(t, "b", "c", "d");
    await link(cache);
    cache.upstream.available = false;
    const [b, c] = siblings as [MemorySibling, MemorySibling];
    b.fault = () => {
      throw new UpstreamError("unreachable", "by the test");
    };
    c.blobs.set(digest, Buffer.alloc(size + 1));
    t.same(await pull(t, cache), near("d"));
    t.same(cache.upstream.calls, []);
  },
);

t.test("an answer without a length is not used, and is nobody's lie", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b", "c");
  await link(cache);
  siblings[0].statesSize = false;
  t.same(await pull(t, cache), near("c"));
  t.equal(siblings[0].sending, 0);
  t.same(
    noticesOf(cache, "sibling").map(({ sibling, result }) => `${sibling} ${result}`),
    ["c hit"],
  );
});

for (const ends of ["is slow", "breaks"] as const)
  t.test(
    `what a sibling is itself fetching ${ends}: upstream goes on, and it is asked the next time`,
    async (t) => {
      const { cache, siblings } = await cacheWith(t, "b");
      await link(cache);
      siblings[0].cacheStatus = "entrepot; fwd=uri-miss; collapsed";
      siblings[0].pace = (at) => {
        cache.clock.advance(500);
        if (ends === "breaks" && at > 0) throw new UpstreamError("truncated", "by the test");
      };
      t.same(await pull(t, cache), near("b"));
      t.equal(cache.upstream.count("GET"), 1);
      t.same(
        noticesOf(cache, "sibling").map(({ result }) => result),
        ["hit"],
        "that says nothing of the sibling",
      );
      siblings[0].pace = undefined;
      siblings[0].cacheStatus = "entrepot; hit; detail=disk";
      await cache.store.delete(digest);
      t.same(await pull(t, cache), near("b"));
      t.equal(siblings[0].calls.length, 2);
    },
  );

t.test("one of 40 KB/s is measured by its first transfer, and costs no second client time", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  await link(cache);
  siblings[0].pace = () => cache.clock.advance(400);
  cache.upstream.transfers.push({ pace: () => cache.clock.advance(1) });
  t.same(await pull(t, cache), near("b"));
  await cache.store.delete(digest);
  cache.clock.advance(10_001);
  t.same(await pull(t, cache), missed);
  t.equal(siblings[0].calls.length, 1);
});

t.test("one that is slower than upstream in the middle is left at the byte it reached", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  await link(cache);
  // 16 KiB in half a second.
  siblings[0].pace = () => cache.clock.advance(500);
  t.same(await pull(t, cache), near("b"));
  t.match(cache.upstream.calls, [/^GET blob team\/app sha256:\w+ from [1-9]/]);
  t.match(noticesOf(cache, "sibling").at(-1), {
    sibling: "b",
    result: "slow",
    message: /bytes in 2\d\d\d ms/,
  });
});

t.test("as slow as that, and upstream is away: it goes on", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  await link(cache);
  cache.upstream.available = false;
  siblings[0].pace = () => cache.clock.advance(500);
  t.same(await pull(t, cache), near("b"));
  t.same(cache.upstream.calls, []);
});

t.test(
  "wrong bytes never make a complete blob, upstream is not blamed, and the sibling is left alone",
  async (t) => {
    const { cache, siblings } = await cacheWith(t, "b");
    await link(cache);
    const wrong = Buffer.from(bytes);
    wrong.writeUInt8(wrong.readUInt8(0) ^ 1, 0);
    siblings[0].blobs.set(digest, wrong);
    const opened = await found(t, cache, app, digest);
    const { bytes: got, error } = await readUntilFailure(opened.reader);
    t.match(error, { code: "digest_mismatch" });
    t.ok(got.length < size);
    await fillsOver(cache);
    t.same(noticesOf(cache, "upstream_error"), []);
    t.match(noticesOf(cache, "store_error"), [{ op: "nearby", message: /^sibling b sent/ }]);
    t.match(noticesOf(cache, "sibling").at(-1), { sibling: "b", result: "wrong" });
    t.same(await pull(t, cache), missed);
    t.equal(siblings[0].calls.length, 1);
  },
);

t.test("bytes of another length than a manifest states are not even begun", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  await link(cache);
  siblings[0].blobs.set(digest, Buffer.alloc(size + 1));
  t.same(await pull(t, cache), missed);
  t.equal(siblings[0].sending, 0);
  t.match(noticesOf(cache, "sibling"), [{ sibling: "b", result: "wrong", message: /1048586 bytes for/ }]);
});

t.test("once upstream is asked no sibling is: one may be waiting for this very fill", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  siblings[0].blobs.clear();
  await link(cache);
  cache.upstream.transfers.push({ cutAt: 100_000 });
  t.same(await pull(t, cache), missed);
  t.equal(siblings[0].calls.length, 1);
  t.match(cache.upstream.calls, [/from 0$/, /from 100000$/]);
});

t.test("only what comes from upstream itself is served to who wants nothing that is not held", async (t) => {
  const { cache, siblings } = await cacheWith(t, "b");
  await link(cache);
  const held = gate();
  siblings[0].pace = async (at) => {
    if (at >= 200_000) await held.opened;
  };
  const remote = remoteRepository(cache.upstream, app);
  const opened = await found(t, cache, app, digest);
  await t.rejects(cache.blobs.openCached(remote, digest, "whole"), { code: "not_cached" });
  siblings[0].pace = () => {
    throw new UpstreamError("truncated", "by the test");
  };
  const more = gate();
  cache.upstream.transfers.push({ hold: { at: 500_000, until: more.opened } });
  held.open();
  await eventually("upstream sends the rest", () => cache.upstream.calls.length === 1);
  await eventually("it is under way", () => (cache.blobs.fills[0]?.received ?? 0) >= 400_000);
  const cached = async () => {
    const given = await cache.blobs.openCached(remote, digest, "whole");
    if (given.kind !== "found") throw new Error(given.kind);
    return given;
  };
  const joined = await cached();
  t.match(summary(joined), { result: "joined", source: "upstream:up", size });
  more.open();
  for (const { reader } of [opened, joined]) t.ok((await readAll(reader)).equals(bytes));
  await joined.reader.close();
  await fillsOver(cache);
  const stored = await cached();
  t.match(summary(stored), { result: "hit", source: "disk", size });
  await stored.reader.close();
});

t.test("who wants nothing that is not held asks nobody for it, nor for the right to it", async (t) => {
  const { cache, siblings, sharedBlobs } = await cacheWith(t, "b");
  const remote = remoteRepository(cache.upstream, app);
  await pull(t, cache);
  const before = [...cache.upstream.calls, ...siblings[0].calls, ...sharedBlobs.calls].length;
  await t.rejects(cache.blobs.openCached(remoteRepository(cache.upstream, other), digest, "whole"), {
    code: "not_cached",
  });
  const absent = sha256(Buffer.from("nowhere"));
  await cache.access.link(remote, [{ digest: absent, size: 7 }]);
  await t.rejects(cache.blobs.openCached(remote, absent, "whole"), { code: "not_cached" });
  await t.rejects(cache.blobs.headCached(remote, absent), { code: "not_cached" });
  t.match(await cache.blobs.headCached(remote, digest), { result: "hit", size });
  const after = [...cache.upstream.calls, ...siblings[0].calls, ...sharedBlobs.calls];
  t.equal(after.filter((call) => !call.startsWith("put")).length, before, "nobody was asked for anything");
});
