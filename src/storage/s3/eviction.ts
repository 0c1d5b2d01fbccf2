// Keeps the shared store within its size by deleting the oldest blobs. One that is used is renewed once a day
// (S3Blobs.refresh), so the order of modification is about that of last use. Small blobs have a share of their own, as on the
// disk (cache/eviction.ts); how often a large one was used nobody tells S3. What this node knows of superseded images is of what
// it has on its own disk: such layers go before others. Of pinned images it knows its own.

import type { Digest } from "../../oci/digest.ts";
import type { BlobInfo } from "../../ports/blobs.ts";
import type { PinLookup } from "../../ports/pins/pins.ts";
import { type BlobIndex, roomOfSmallBlobs } from "../../ports/records.ts";
import { eachAtOnce } from "../../ports/turns.ts";

/** Share of the size without what is pinned that an eviction leaves. */
const target = 0.9;
/** Oldest blobs remembered while listing, twice as many at most. When they are too few, the bucket is listed again. */
const remembered = 10_000;
/** Deletions at once, of one object each: to delete many, Swift requires a header that the SDK does not send. */
const concurrency = 8;

/** What a node knows of blobs, be they on its disk or not. */
export interface KnownBlobs extends Pick<PinLookup, "isHeld">, Pick<BlobIndex, "isSuperseded"> {}

export interface S3EvictionOptions {
  /** Left out: nothing is pinned or superseded. */
  readonly known?: KnownBlobs | undefined;
  readonly list: (signal: AbortSignal) => AsyncIterable<BlobInfo>;
  readonly delete: (digest: Digest, signal: AbortSignal) => Promise<unknown>;
}

export interface S3Room {
  /** Bytes the blobs may have. */
  readonly maxBytes: number;
  /** Bytes below which a blob is a small one. */
  readonly smallBlob: number;
}

export interface Evicted {
  /** Bytes of blobs left. */
  readonly bytes: number;
  readonly deleted: number;
  readonly freed: number;
}

/**
 * Deletes blobs when they have more than `maxBytes`, until they have at most 90 % of it, of what is not held for pinned images:
 * the oldest of the small ones down to their share, then the oldest of the others. What is held stays. Ends early when another
 * listing does not show that anything has gone.
 */
export async function evictOldest(
  options: S3EvictionOptions,
  room: S3Room,
  signal: AbortSignal,
): Promise<Evicted> {
  const { maxBytes } = room;
  let deleted = 0;
  let freed = 0;
  let before = Number.POSITIVE_INFINITY;
  for (;;) {
    const found = await survey(options, room.smallBlob, signal);
    const { bytes } = found;
    const pinned = Math.min(found.pinnedBytes, maxBytes);
    const excess = freed === 0 && bytes <= maxBytes ? 0 : bytes - pinned - (maxBytes - pinned) * target;
    if (excess <= 0 || bytes >= before) return { bytes, deleted, freed };
    before = bytes;
    const chosen = choose(found, excess, roomOfSmallBlobs(maxBytes, room.smallBlob));
    await deleteAll(chosen, options, signal);
    const gone = chosen.reduce((sum, { size }) => sum + size, 0);
    deleted += chosen.length;
    freed += gone;
    // Deleted blobs may be listed for a while, so what is left is counted and not listed again.
    const isAll = chosen.length === found.small.length + found.large.length && !found.more;
    if (gone >= excess || isAll) return { bytes: bytes - gone, deleted, freed };
  }
}

interface Survey {
  /** Of all blobs, and of the small ones that are not pinned. */
  readonly bytes: number;
  readonly smallBytes: number;
  readonly pinnedBytes: number;
  /** The oldest of each kind, in order. */
  readonly small: readonly BlobInfo[];
  readonly large: readonly BlobInfo[];
  /** There are others besides. */
  readonly more: boolean;
}

async function survey(
  { list, known }: S3EvictionOptions,
  smallBlob: number,
  signal: AbortSignal,
): Promise<Survey> {
  const [small, large] = [new Oldest(), new Oldest()];
  let pinnedBytes = 0;
  for await (const blob of list(signal)) {
    if (known?.isHeld(blob.digest)) pinnedBytes += blob.size;
    else if (blob.size < smallBlob) small.add(blob);
    // Before the oldest of the others.
    else large.add(blob, known?.isSuperseded(blob.digest) ? 0 : blob.modifiedAt);
  }
  return {
    bytes: small.bytes + large.bytes + pinnedBytes,
    smallBytes: small.bytes,
    pinnedBytes,
    small: small.inOrder(),
    large: large.inOrder(),
    more: small.more || large.more,
  };
}

class Oldest {
  bytes = 0;
  /** Some were not remembered. */
  more = false;
  readonly #found: { readonly blob: BlobInfo; readonly order: number }[] = [];

  /** `order`: what stands for its age. */
  add(blob: BlobInfo, order = blob.modifiedAt): void {
    this.bytes += blob.size;
    this.#found.push({ blob, order });
    if (this.#found.length >= 2 * remembered) this.#sort();
  }

  inOrder(): readonly BlobInfo[] {
    this.#sort();
    return this.#found.map(({ blob }) => blob);
  }

  #sort(): void {
    this.#found.sort((a, b) => a.order - b.order);
    if (this.#found.length <= remembered) return;
    this.#found.length = remembered;
    this.more = true;
  }
}

/** Blobs with `excess` bytes together, or all that are known. */
function choose({ smallBytes, small, large }: Survey, excess: number, share: number): BlobInfo[] {
  const chosen: BlobInfo[] = [];
  let sum = 0;
  const take = (blobs: readonly BlobInfo[], enough: number): void => {
    for (const blob of blobs) {
      if (sum >= enough) break;
      chosen.push(blob);
      sum += blob.size;
    }
  };
  take(small, Math.min(excess, smallBytes - share));
  const taken = chosen.length;
  take(large, excess);
  take(small.slice(taken), excess);
  return chosen;
}

async function deleteAll(
  blobs: readonly BlobInfo[],
  { delete: remove }: S3EvictionOptions,
  signal: AbortSignal,
): Promise<void> {
  await eachAtOnce(blobs, concurrency, async ({ digest }) => {
    await remove(digest, signal);
  });
}
