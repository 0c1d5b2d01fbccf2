// Where pieces come from when nodes share what they fetch: whatever node a client asks, upstream sends its range once.
import t, { type Test } from "tap";
import { remoteRepository } from "../../../src/ports/upstream.ts";
import { app, fillsOver } from "../../fixtures/blob-clients.ts";
import { type CacheFixture, mebibyte, openCache, readAll, readBytes } from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, gate } from "../../fixtures/manual-time.ts";
import { MemoryShared } from "../../fixtures/memory-shared.ts";
import { MemoryUpstream, sha256 } from "../../fixtures/memory-upstream.ts";
import { MemoryPeers, MemorySharedBlobs } from "../../fixtures/neighbours.ts";

const bytes = randomBytesFor("layer", 8 * mebibyte + 9);
const size = bytes.length;
const digest = sha256(bytes);

/** Reads one range as a client of the node does; `end` is exclusive. */
async function readRange({ blobs, upstream }: CacheFixture, from: number, end: number): Promise<Buffer> {
  const opened = await blobs.open(remoteRepository(upstream, app), digest, "part");
  if (opened.kind !== "found") throw new Error(opened.kind);
  const { reader } = opened;
  reader.expect?.([{ start: from, end: end - 1 }]);
  try {
    return await readBytes(reader, { from, end });
  } finally {
    await reader.close();
  }
}

async function isStored(t: Test, cache: CacheFixture): Promise<void> {
  await fillsOver(cache);
  const stored = await cache.store.open(digest);
  t.ok(stored && (await readAll(stored)).equals(bytes), "what is stored is right");
}

t.test("the same range asked of two nodes is fetched once, by the one that fills", async (t) => {
  const upstream = new MemoryUpstream();
  upstream.addBlob(app, bytes);
  const [known, peers] = [new MemoryShared(), new MemoryPeers()];
  const node = async (name: string): Promise<CacheFixture> => {
    const address = `http://${name}`;
    const cache = await openCache(t, { name, shared: known, peers, address, upstream });
    peers.caches.set(address, cache);
    return cache;
  };
  const [a, b] = [await node("a"), await node("b")];
  const held = gate();
  t.teardown(held.open);
  upstream.transfers.push({ hold: { at: 128 * 1024, until: held.opened } });
  const from = 4 * mebibyte;
  const wanted = bytes.subarray(from, from + mebibyte);
  t.ok((await readRange(a, from, from + mebibyte)).equals(wanted));
  t.ok((await readRange(b, from, from + mebibyte)).equals(wanted));
  t.ok((await readRange(b, from + 2 * mebibyte, from + 2 * mebibyte + 60)).length === 60);
  t.same(
    upstream.calls.filter((call) => call.startsWith("GET")).map((call) => call.split(" from ")[1]),
    [
      `0 to ${mebibyte}`,
      `${from} to ${from + mebibyte}`,
      `${from + 2 * mebibyte} to ${from + 2 * mebibyte + 60}`,
    ],
  );
  t.same(
    peers.calls.map((call) => call.split(" from ")[1]),
    ["0", `${from} to ${from + mebibyte}`, `${from + 2 * mebibyte} to ${from + 2 * mebibyte + 60}`],
    "the other one asked it for the same",
  );
  held.open();
  await isStored(t, a);
  await isStored(t, b);
  t.ok(upstream.bytesSent <= size * 1.02, `${upstream.bytesSent} of ${size} bytes`);
});

t.test("a range of a blob that comes from the shared store is read there", async (t) => {
  const blobs = new MemorySharedBlobs();
  blobs.kept.set(digest, { bytes, mediaType: undefined, modifiedAt: blobs.now });
  const cache = await openCache(t, { sharedBlobs: blobs });
  await cache.access.link(remoteRepository(cache.upstream, app), [{ digest, size }]);
  const held = gate();
  let chunks = 0;
  blobs.beforeChunk = () => (++chunks === 8 ? held.opened : undefined);
  const reading = readRange(cache, 4 * mebibyte, 4 * mebibyte + 60);
  await eventually("the fill stands still", () => chunks >= 8);
  t.ok((await reading).equals(bytes.subarray(4 * mebibyte, 4 * mebibyte + 60)));
  t.same(
    blobs.calls.filter((call) => call.startsWith("open")).map((call) => call.split(" from ")[1]),
    ["0", `${4 * mebibyte}`],
  );
  held.open();
  await isStored(t, cache);
  t.equal(cache.upstream.count("GET"), 0);
  t.equal(blobs.sending, 0);
});
