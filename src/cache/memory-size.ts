// What memories cost whose keys come from clients: the keys are counted, in bytes, beside their number; and bodies.

/** Bytes of one such memory at most, about, and its entries. */
const maxBytes = 4 * 1024 * 1024;
const maxEntries = 10_000;
/** What an entry costs besides its key, of two bytes for each UTF-16 unit: a small value, and places in lists. */
const entryBytes = 200;

/** Options of an LRUCache of small values, in which the least recently used give way at 4 MiB or 10,000 entries. */
export const boundedByKeys = {
  max: maxEntries,
  maxSize: maxBytes,
  sizeCalculation: (_: unknown, key: string): number => 2 * key.length + entryBytes,
};

/** Bodies up to this many bytes are sent as text (http/exchange.ts), which is kept as long as they are. */
export const largestText = 12 * 1024;
/** What a body in memory costs besides its bytes, about. */
const bodyOverhead = 512;

/** Bytes a body in memory costs, with its text. */
export function bodyBytes({ length }: Buffer): number {
  return (length > largestText ? length : 2 * length) + bodyOverhead;
}
