// Keeps the shared store within its size by deleting the oldest blobs. One that is used is renewed once a day
// (S3Blobs.refresh), so the order of modification is about that of last use.

import type { Digest } from "../../oci/digest.ts";
import type { BlobInfo } from "../../ports/blobs.ts";

/** Share of the size that an eviction leaves. */
const target = 0.9;
/** Oldest blobs remembered while listing, twice as many at most. When they are too few, the bucket is listed again. */
const remembered = 10_000;
/** Deletions at once, of one object each: to delete many, Swift requires a header that the SDK does not send. */
const concurrency = 8;

export interface S3EvictionOptions {
  readonly list: (signal: AbortSignal) => AsyncIterable<BlobInfo>;
  readonly delete: (digest: Digest, signal: AbortSignal) => Promise<unknown>;
}

export interface Evicted {
  /** Bytes of blobs left. */
  readonly bytes: number;
  readonly deleted: number;
  readonly freed: number;
}

/** Deletes blobs, oldest first, when they have more than `maxBytes`, until they have at most 90 % of it. */
export async function evictOldest(
  options: S3EvictionOptions,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Evicted> {
  let deleted = 0;
  let freed = 0;
  for (;;) {
    const { bytes, oldest } = await survey(options.list(signal));
    const excess = freed === 0 && bytes <= maxBytes ? 0 : bytes - maxBytes * target;
    if (excess <= 0) return { bytes, deleted, freed };
    const chosen = enough(oldest, excess);
    await deleteAll(chosen, options, signal);
    const gone = chosen.reduce((sum, { size }) => sum + size, 0);
    deleted += chosen.length;
    freed += gone;
    // Deleted blobs may be listed for a while, so what is left is counted and not listed again.
    if (gone >= excess || chosen.length === 0) return { bytes: bytes - gone, deleted, freed };
  }
}

/** The bytes of all blobs, and the oldest of them in order. */
async function survey(blobs: AsyncIterable<BlobInfo>): Promise<{ bytes: number; oldest: BlobInfo[] }> {
  let bytes = 0;
  const oldest: BlobInfo[] = [];
  const cut = (): void => {
    oldest.sort((a, b) => a.modifiedAt - b.modifiedAt);
    oldest.length = Math.min(oldest.length, remembered);
  };
  for await (const blob of blobs) {
    bytes += blob.size;
    oldest.push(blob);
    if (oldest.length >= 2 * remembered) cut();
  }
  cut();
  return { bytes, oldest };
}

function enough(oldest: readonly BlobInfo[], excess: number): BlobInfo[] {
  const chosen: BlobInfo[] = [];
  let sum = 0;
  for (const blob of oldest) {
    if (sum >= excess) break;
    chosen.push(blob);
    sum += blob.size;
  }
  return chosen;
}

async function deleteAll(
  blobs: readonly BlobInfo[],
  { delete: remove }: S3EvictionOptions,
  signal: AbortSignal,
): Promise<void> {
  const queue = blobs.values();
  const work = async (): Promise<void> => {
    for (const { digest } of queue) await remove(digest, signal);
  };
  await Promise.all(Array.from({ length: concurrency }, work));
}
