// A page of a list of tags (distribution-spec, "Listing Tags").
import type { Page } from "./route.ts";

/** At most `n` of `tags`, which are in ASCII order and none of them twice, after `last`; whether more of them come after. */
export function tagPage(
  tags: readonly string[],
  { n = tags.length, last }: Page,
): { readonly tags: readonly string[]; readonly more: boolean } {
  const from = last === undefined ? 0 : firstAfter(tags, last);
  const page = tags.slice(from, from + n);
  return { tags: page, more: n > 0 && from + page.length < tags.length };
}

/** Where the first tag after `last` stands. */
function firstAfter(tags: readonly string[], last: string): number {
  let from = 0;
  for (let to = tags.length; from < to; ) {
    const middle = (from + to) >>> 1;
    if ((tags[middle] as string) > last) to = middle;
    else from = middle + 1;
  }
  return from;
}
