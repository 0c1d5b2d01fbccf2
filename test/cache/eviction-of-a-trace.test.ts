// What the eviction keeps of an order of requests as a production registry has it: more than the least recently used.
import t, { type Test } from "tap";
import { Eviction } from "../../src/cache/eviction.ts";
import { type Digest, makeDigest } from "../../src/oci/digest.ts";
import { openIndex } from "../../src/storage/index/sqlite-index.ts";
import { type HitRatios, lruHits } from "../bench/trace/computed-lru.ts";
import { makeTrace } from "../bench/trace/made-trace.ts";
import { uniqueBytes } from "../bench/trace/trace.ts";
import { scaled } from "../bench/trace/trace-content.ts";

/** What the sizes are divided by, so that a budget of bytes is one of the tests' kind. */
const scale = 1_000;
const smallBlob = 1_000_000 / scale;

const blobs = scaled(makeTrace({ length: 120_000 }), scale);

/** Replays it with the index and the eviction of the mirror and a store that holds nothing. */
async function hitsOf(t: Test, maxSize: number): Promise<HitRatios> {
  let now = 0;
  const clock = (): number => now;
  const index = openIndex({ directory: t.testdir(), clock, smallBlob });
  t.teardown(() => index.close());
  const stored = new Set<Digest>();
  const eviction = new Eviction({
    store: { delete: async () => true },
    index: index.blobs,
    limits: () => ({ maxSize, smallBlob, evictTo: 0.98, keepFree: 0 }),
    freeSpace: async () => ({ free: 1e12, total: 1e12 }),
    fillingBytes: () => 0,
    inUse: () => false,
    evicting: (digest) => stored.delete(digest),
    notices: () => {},
    clock,
  });
  const digests = new Map<number, Digest>();
  const sum = { hits: 0, hitBytes: 0, bytes: 0 };
  for (const { content, size } of blobs) {
    now += 1;
    sum.bytes += size;
    const digest = digests.get(content) ?? makeDigest("sha256", content.toString(16).padStart(64, "0"));
    digests.set(content, digest);
    if (stored.has(digest)) {
      sum.hits += 1;
      sum.hitBytes += size;
      index.blobs.touch(digest, now);
    } else if (size <= maxSize) {
      index.blobs.add(digest, size, undefined, now);
      stored.add(digest);
      if (index.blobs.totals().bytes > maxSize) await eviction.run();
    }
  }
  t.ok(index.blobs.totals().bytes <= maxSize, "it keeps to its budget");
  return { objects: sum.hits / blobs.length, bytes: sum.hitBytes / sum.bytes };
}

for (const { percent, objects } of [
  { percent: 1, objects: 0.14 },
  { percent: 5, objects: 0.1 },
])
  t.test(`with room for ${percent} % of all bytes`, async (t) => {
    const maxSize = Math.round((uniqueBytes(blobs) * percent) / 100);
    const [own, lru] = [await hitsOf(t, maxSize), lruHits(blobs, maxSize)];
    t.ok(own.objects > lru.objects + objects, `blobs: ${own.objects}, LRU ${lru.objects}`);
    t.ok(own.bytes > lru.bytes, `bytes: ${own.bytes}, LRU ${lru.bytes}`);
  });
