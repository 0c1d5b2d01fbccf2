// What one request for ranges of a running fill may have before the digest is known, and in which stretches of the blob
// it asks upstream for bytes the fill is far from.
import type { ByteRange } from "../../oci/range.ts";

/**
 * The last bytes of a blob: never given before the digest is verified, unless in a range that ends before the blob does, or
 * is no longer than that.
 */
export const holdBack = 64 * 1024;
/** Requests to upstream that one request of a client may cause. */
export const maxRangeRequests = 16;
/** Ranges with fewer bytes than this between them are asked for as one: less than a round trip brings. */
const nearby = 64 * 1024;

/** Bytes from `start` to `end` (exclusive). */
export interface Stretch {
  readonly start: number;
  readonly end: number;
}

export class RangePlan {
  /** Bytes of the blob, from its first one, that may be given before the digest is verified. */
  readonly free: number;
  /** Requests to upstream so far. */
  requests = 0;
  readonly #stretches: readonly Stretch[];

  /** For the ranges a client is to be sent, in any order and within a blob of `size` bytes; at least one. */
  constructor(ranges: readonly ByteRange[], size: number) {
    // A shorter one is what lazy pullers begin with, and verify by themselves.
    const held = ranges.some(({ start, end }) => end + 1 === size && size - start > holdBack);
    this.free = held ? size - holdBack : size;
    this.#stretches = coalesced(ranges);
  }

  /** The stretch that has this byte, which is in one of the ranges. */
  at(position: number): Stretch {
    const found = this.#stretches.find(({ start, end }) => start <= position && position < end);
    return found ?? { start: position, end: position + 1 };
  }

  /** The stretches behind it, in the order of the blob. */
  after(stretch: Stretch): readonly Stretch[] {
    return this.#stretches.slice(this.#stretches.indexOf(stretch) + 1);
  }
}

/** At most `maxRangeRequests` stretches: where there are more, those with the smallest gaps are joined. */
function coalesced(ranges: readonly ByteRange[]): Stretch[] {
  const sorted = ranges.map(({ start, end }) => ({ start, end: end + 1 })).sort((a, b) => a.start - b.start);
  const gaps = sorted
    .slice(1)
    .map(({ start }, before) => start - (sorted[before] as Stretch).end)
    .sort((a, b) => b - a);
  const widest = Math.max(nearby, gaps[maxRangeRequests - 1] ?? 0);
  const stretches: { start: number; end: number }[] = [];
  for (const range of sorted) {
    const last = stretches.at(-1);
    if (last !== undefined && range.start - last.end <= widest) last.end = Math.max(last.end, range.end);
    else stretches.push(range);
  }
  return stretches;
}
