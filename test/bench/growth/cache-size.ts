// A larger and larger cache: what it hits of a trace with the figures of a production registry's. Computed, by the mirror's own
// index and eviction, without a store and without requests; the scenario `trace` sends the same requests to the running mirror.

import type { Scale, Scenario } from "../scenario.ts";
import { lruHits } from "../trace/computed-lru.ts";
import { makeTrace, recordedLength } from "../trace/made-trace.ts";
import { ownHits } from "../trace/own-eviction.ts";
import { uniqueBytes } from "../trace/trace.ts";
import { scaled } from "../trace/trace-content.ts";
import { growthScenario, type RunningPoint } from "./axis.ts";

/** What the sizes are divided by: the index counts in the size of the cache, too, but for its first 64 MiB. */
const scale = 1_000;
/** The default of `cache.smallBlob`. */
const smallBlob = 1_000_000;

export function growthCacheSize({ quick }: Scale): Scenario {
  const points = quick ? [5, 100] : [1, 2, 5, 10, 20, 50, 100];
  const length = quick ? 5_000 : recordedLength;
  return growthScenario({
    name: "cache-size",
    title: `Growing: the cache, % of the bytes of all blobs`,
    points,
    pointText: (percent) => `room for ${percent} %`,
    figures: [
      { id: "objects", title: "blobs hit", unit: "%" },
      { id: "bytes", title: "bytes hit", unit: "%" },
      { id: "lru-objects", title: "blobs hit by LRU", unit: "%" },
      { id: "lru-bytes", title: "bytes hit by LRU", unit: "%" },
    ],
    // They would all be the same.
    turns: 1,
    async prepare(round) {
      const blobs = scaled(makeTrace({ length }), scale);
      const unique = uniqueBytes(blobs);
      const start = async (point: number): Promise<RunningPoint> => ({
        measure: async () => {
          const maxSize = Math.round((unique * point) / 100);
          const directory = await round.directory();
          const own = await ownHits(blobs, { maxSize, smallBlob: smallBlob / scale, directory });
          const lru = lruHits(blobs, maxSize);
          round.within(`bytes of blobs with ${point} % room`, own.held, 1, maxSize);
          if (point === 100) {
            round.equal("blobs held when there is room for all", own.held, unique);
            round.equal("blobs hit when there is room for all", own.objects, lru.objects);
            round.equal("bytes hit when there is room for all", own.bytes, lru.bytes);
          }
          return {
            objects: 100 * own.objects,
            bytes: 100 * own.bytes,
            "lru-objects": 100 * lru.objects,
            "lru-bytes": 100 * lru.bytes,
          };
        },
        end: async () => ({}),
      });
      return { start };
    },
  });
}
