// What a client takes (RFC 9110, section 12.5.1): the Accept header of a request for a manifest.

/** Longest header that is judged, in characters; a longer one takes everything. The longest of real clients has 500. */
const longest = 2048;
const token = "[a-z0-9!#$%&'*+.^_`|~-]{1,127}";
/** A media range and its weight; other parameters distinguish no manifests. */
const rangeGrammar = new RegExp(
  `^(?<type>${token}/${token})(?:\\s*;\\s*(?:q=(?<weight>[01](?:\\.\\d{0,3})?)|[^;,"]*))*$`,
);
const refusesSomething = /q=0(?:\.0{0,3})?\s*(?:[,;]|$)/i;

interface MediaRange {
  /** `type/subtype`, in lower case. */
  readonly type: string;
  /** As it is written; undefined: the greatest. */
  readonly weight: string | undefined;
}

/**
 * Whether a client that sends this header takes a manifest of the media type. True also for a header that names no type,
 * as for none at all: docker asks HEAD without one (docs/clients.md 14).
 */
export function takes(accept: string | undefined, mediaType: string): boolean {
  if (accept === undefined || accept.length > longest) return true;
  // Usual clients name every type there is, or take any.
  const named = accept.includes(mediaType) || accept.includes("*/*");
  if (named && !(/q=0/i.test(accept) && refusesSomething.test(accept))) return true;
  const ranges = rangesOf(accept);
  if (ranges.length === 0) return true;
  const any = `${mediaType.slice(0, mediaType.indexOf("/"))}/*`;
  // The most precise range that matches counts.
  for (const type of [mediaType, any, "*/*"]) {
    const range = ranges.find((each) => each.type === type);
    if (range !== undefined) return Number(range.weight ?? 1) > 0;
  }
  return false;
}

/** The header as upstream is asked with it: the ranges that can be read, each with its weight, in their order. */
export function plainAccept(accept: string): string {
  return rangesOf(accept)
    .map(({ type, weight }) => (weight === undefined ? type : `${type};q=${weight}`))
    .join(", ");
}

function rangesOf(accept: string): readonly MediaRange[] {
  return accept
    .toLowerCase()
    .split(",")
    .flatMap((element) => {
      const { type, weight } = rangeGrammar.exec(element.trim())?.groups ?? {};
      return type === undefined ? [] : [{ type, weight }];
    });
}
