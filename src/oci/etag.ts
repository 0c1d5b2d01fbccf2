// Entity tags of content named by digest (RFC 9110 sections 8.8.3 and 13.1): the digest itself, quoted, strong.
import type { Digest } from "./digest.ts";

/** One entity tag of a list with the commas before it, up to the next comma or the end; sticky. */
const entityTag = /[ \t,]*(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)/gy;

/** The ETag header of a blob or manifest. */
export function etagOf(digest: Digest): string {
  return `"${digest}"`;
}

/**
 * True when an If-None-Match header names `etag`: answer 304. Weak comparison, a list, or `*` (we only ask with
 * content in hand). A malformed header matches at most what stands before the fault.
 */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header === "*") return true;
  for (const [, opaque] of header.matchAll(entityTag)) if (opaque === etag) return true;
  return false;
}

/**
 * True when the Range header of the request counts: no If-Range, or one that is exactly the strong `etag`.
 * A weak tag never matches, and neither does a date: nothing here has one.
 */
export function ifRangeMatches(header: string | undefined, etag: string): boolean {
  return header === undefined || header === etag;
}
