// Keeping the shared store within its size, oldest first. A blob that is used is written again from time to time
// (S3Blobs.refresh), so the order of modification is about that of last use.

import type { Digest } from "../../oci/digest.ts";
import type { BlobInfo } from "../../ports/blobs.ts";

/** Share of the size that is left. */
const target = 0.9;
/** Oldest blobs remembered while listing, at most twice as many: some 5 MB. Where they are not enough, it is listed again. */
const remembered = 10_000;
/** Deletions under way at once. One object each: Swift wants a header for deleting many that the SDK does not send. */
const atOnce = 8;

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
    // What was deleted may be listed for a while: counting instead of listing again ends this in any case.
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
  await Promise.all(Array.from({ length: atOnce }, work));
}
