// Where a layout is read from, entry by entry.

/** A file of a layout. */
export interface LayoutEntry {
  /** Below the layout's root, with slashes; neither absolute nor leading out of it. */
  readonly path: string;
  readonly size: number;
  /** Its bytes, once, before the next entry is asked for; what is not read is passed over. */
  readonly bytes: () => AsyncIterable<Buffer>;
}

/** Each file once, in any order. Throws LayoutError, also in the middle, and the system's errors. */
export type LayoutSource = AsyncIterable<LayoutEntry>;

/** Entries of a layout: a blob each, and some. */
export const maxEntries = 500_000;
/** Bytes of one blob: 1 TiB. */
export const largestBlob = 2 ** 40;
