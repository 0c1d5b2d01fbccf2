// What a cache that drops the least recently used would have had of a trace: the yardstick of an eviction.
import { LRUCache } from "lru-cache";
import { isBlob, type Trace } from "./trace.ts";

/** Shares of requests for blobs, and of their bytes. */
export interface HitRatios {
  readonly objects: number;
  readonly bytes: number;
}

/** Of a cache keyed by digest with so many bytes, empty at first. */
export function lruHits(trace: Trace, maxSize: number): HitRatios {
  const cache = new LRUCache<number, number>({ maxSize, sizeCalculation: (size) => size });
  let hits = 0;
  let hitBytes = 0;
  let bytes = 0;
  const blobs = trace.filter(isBlob);
  for (const { content, size } of blobs) {
    bytes += size;
    if (cache.get(content) === undefined) {
      cache.set(content, size);
      continue;
    }
    hits += 1;
    hitBytes += size;
  }
  return { objects: hits / blobs.length, bytes: hitBytes / bytes };
}
