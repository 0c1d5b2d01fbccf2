// What the eviction keeps of an order of requests as a production registry has it: more than the least recently used.
import t from "tap";
import { lruHits } from "../bench/trace/computed-lru.ts";
import { makeTrace } from "../bench/trace/made-trace.ts";
import { ownHits } from "../bench/trace/own-eviction.ts";
import { uniqueBytes } from "../bench/trace/trace.ts";
import { scaled } from "../bench/trace/trace-content.ts";

/** What the sizes are divided by, so that a budget of bytes is one of the tests' kind. */
const scale = 1_000;
const smallBlob = 1_000_000 / scale;

const blobs = scaled(makeTrace({ length: 120_000 }), scale);

for (const { percent, objects } of [
  { percent: 1, objects: 0.14 },
  { percent: 5, objects: 0.1 },
])
  t.test(`with room for ${percent} % of all bytes`, { timeout: 120_000 }, async (t) => {
    const maxSize = Math.round((uniqueBytes(blobs) * percent) / 100);
    const own = await ownHits(blobs, { maxSize, smallBlob, directory: t.testdir() });
    const lru = lruHits(blobs, maxSize);
    t.ok(own.held <= maxSize, "it keeps to its budget");
    t.ok(own.objects > lru.objects + objects, `blobs: ${own.objects}, LRU ${lru.objects}`);
    t.ok(own.bytes > lru.bytes, `bytes: ${own.bytes}, LRU ${lru.bytes}`);
  });
