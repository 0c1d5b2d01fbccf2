// What memories cost whose keys come from clients: the keys are counted, in bytes, beside their number.

/** Bytes of one such memory at most, about, and its entries. */
const maxBytes = 4 * 1024 * 1024;
const maxEntries = 10_000;
/** What an entry costs besides its key: a small value, and the places in the lists of lru-cache. */
const entryBytes = 200;

/** Bytes a key takes, two for each UTF-16 unit at most, with its entry. */
export function keyBytes(key: string): number {
  return 2 * key.length + entryBytes;
}

/** Options of an LRUCache of small values, in which the least recently used give way at 4 MiB or 10,000 entries. */
export const boundedByKeys = {
  max: maxEntries,
  maxSize: maxBytes,
  sizeCalculation: (_: unknown, key: string): number => keyBytes(key),
};
