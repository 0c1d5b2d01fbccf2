// Paging by Link headers (RFC 8288; distribution-spec, "Listing Tags" and "Listing Referrers").

/**
 * The query of a `rel="next"` link (RFC 8288). Only the query is taken: behind proxies the host and path in it are
 * often wrong, and the next request is built from our own parts anyway.
 */
export function nextQuery(header: string | string[] | undefined): URLSearchParams | undefined {
  for (const link of [header ?? []].flat().flatMap((value) => value.split(/,\s*(?=<)/))) {
    const match = /^\s*<([^>]{1,2048})>\s*;(.*)$/.exec(link);
    if (match === null || !/(?:^|;)\s*rel\s*=\s*"?next"?\s*(?:;|$)/i.test(match[2] as string)) continue;
    const query = (match[1] as string).split("?", 2)[1];
    if (query !== undefined && query !== "") return new URLSearchParams(query.split("#", 1)[0]);
  }
  return undefined;
}
