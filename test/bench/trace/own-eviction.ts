// What the mirror itself would have had of a trace: its own index and eviction, with a store that holds nothing.
import { Eviction } from "../../../src/cache/eviction.ts";
import { type Digest, makeDigest } from "../../../src/oci/digest.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import type { HitRatios } from "./computed-lru.ts";
import type { BlobResource } from "./trace.ts";

export interface OwnEvictionOptions {
  /** Bytes of blobs. */
  readonly maxSize: number;
  /** Bytes below which a blob is a small one. */
  readonly smallBlob: number;
  /** An empty directory, for the index. */
  readonly directory: string;
}

export interface OwnHits extends HitRatios {
  /** Bytes of blobs it holds at the end. */
  readonly held: number;
}

/** Replays requests for blobs, a millisecond each, one after the other: a pass of the eviction is over before the next one. */
export async function ownHits(
  blobs: readonly BlobResource[],
  { maxSize, smallBlob, directory }: OwnEvictionOptions,
): Promise<OwnHits> {
  let now = 0;
  const clock = (): number => now;
  const index = openIndex({ directory, clock, smallBlob });
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
  try {
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
    const held = index.blobs.totals().bytes;
    return { objects: sum.hits / blobs.length, bytes: sum.hitBytes / sum.bytes, held };
  } finally {
    index.close();
  }
}
