// Bounds of what is remembered in memory: of small values by keys that clients choose, which are counted in bytes too, and
// of bodies.

/** Bytes of one cache of small values at most, about. */
const maxBytes = 4 * 1024 * 1024;
/** Bytes an entry takes besides its key, which takes two for each UTF-16 unit: a small value, and places in lists. */
const entryBytes = 200;

/**
 * Options of an LRUCache of small values: the least recently used are evicted at 4 MiB, which are at most 20,971 entries.
 * Without a number of entries it takes no memory before it has some.
 */
export const boundedByKeys = {
  maxSize: maxBytes,
  sizeCalculation: (_: unknown, key: string): number => 2 * key.length + entryBytes,
};

/** Bodies up to this many bytes are sent as text (http/exchange.ts), and the text is kept as long as the body. */
export const largestText = 12 * 1024;
/** Bytes a body in memory takes besides its own, about. */
const bodyOverhead = 512;

/** Bytes a body in memory takes, with its text. */
export function bodyBytes({ length }: Buffer): number {
  return (length > largestText ? length : 2 * length) + bodyOverhead;
}
