// The Range header of RFC 9110 section 14 for a blob of known size, and what answers it.
// Registries need no byte ranges but clients do: docker and containerd resume with `bytes=N-`, lazy snapshotters
// and zstd:chunked ask for up to 1,024 pieces in one request (docs/clients.md 24 to 27).

/** Both ends inclusive, as on the wire. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export type RangeRequest =
  /** Answer 200 with the whole blob. */
  | { readonly kind: "none" }
  /** Answer 416. */
  | { readonly kind: "unsatisfiable" }
  /**
   * Answer 206. `multipart` when more than one range was asked for: then send multipart/byteranges even if one
   * range is left, for zstd:chunked reads a plain 206 to such a request as its first piece.
   */
  | { readonly kind: "ranges"; readonly ranges: readonly ByteRange[]; readonly multipart: boolean };

const none: RangeRequest = { kind: "none" };

/** Longer headers and longer lists are answered with the whole blob. zstd:chunked sends 1,024 ranges in 20 kB. */
const maxHeaderLength = 32 * 1024;
const maxRanges = 1024;

const unit = /^bytes=/i;
/** One element of the list: `5-9`, `5-`, `-5`, or empty, which section 5.6.1 lets pass. */
const element = /^[ \t]*(?:(\d*)-(\d*)[ \t]*)?$/;

/**
 * Reads a Range header for a blob of `size` bytes.
 * Another unit, a malformed list or one beyond the bounds is ignored, as section 14.2 asks or allows. So is every
 * range of an empty blob, and a list whose ranges add up to more than the blob: it overlaps and costs more than
 * the blob itself. Ranges are returned one for one in the order asked, never joined, without those that start
 * after the end: zstd:chunked counts the parts it gets.
 */
export function parseRange(header: string | undefined, size: number): RangeRequest {
  if (header === undefined || header.length > maxHeaderLength || !unit.test(header) || size === 0)
    return none;
  const ranges: ByteRange[] = [];
  let asked = 0;
  let total = 0;
  for (const text of header.slice("bytes=".length).split(",")) {
    const match = element.exec(text);
    if (match === null) return none;
    const [, first, last] = match;
    if (first === undefined || last === undefined) continue;
    asked++;
    const range = resolve(first, last, size);
    if (range === "malformed" || asked > maxRanges) return none;
    if (range === "beyond") continue;
    ranges.push(range);
    total += range.end - range.start + 1;
  }
  if (asked === 0 || total > size) return none;
  return ranges.length === 0 ? { kind: "unsatisfiable" } : { kind: "ranges", ranges, multipart: asked > 1 };
}

/** Numbers that a double cannot hold exactly are larger than any blob, and stay so when rounded. */
function resolve(first: string, last: string, size: number): ByteRange | "beyond" | "malformed" {
  if (first === "") {
    if (last === "") return "malformed";
    const length = Math.min(Number(last), size);
    return length === 0 ? "beyond" : { start: size - length, end: size - 1 };
  }
  const start = Number(first);
  const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== "" && Number(last) < start) return "malformed";
  return start >= size ? "beyond" : { start, end };
}

/** Content-Range of a 206, or of one part of it. The size is never `*`: clients parse it. */
export function contentRange(start: number, end: number, size: number): string {
  return `bytes ${start}-${end}/${size}`;
}

/** Content-Range of a 416. */
export function unsatisfiedRange(size: number): string {
  return `bytes */${size}`;
}
