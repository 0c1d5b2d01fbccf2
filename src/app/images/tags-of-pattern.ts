// The tags of a repository that a pattern matches, by the list that upstream gives.
import picomatch from "picomatch";
import type { Listings } from "../../cache/listings.ts";
import type { Target } from "../../http/routing.ts";
import { parseTag } from "../../oci/name.ts";
import { remoteRepository } from "../../ports/upstream.ts";

/** Tags of one pattern: the last in the order of the list, in which later versions mostly stand. */
const maxTags = 100;
/** Tags of one page, and pages that are read. */
const pageSize = 1_000;
const maxPages = 10;

/**
 * At most 100 tags that are allowed, of the first target that has such a repository; of a repository with more than 10,000
 * tags those that the pattern matches among the first of them. Text says why there are none. Rejects with UpstreamError.
 */
export async function tagsOfPattern(
  listings: Pick<Listings, "tags">,
  targets: readonly Target[],
  pattern: string,
): Promise<readonly string[] | string> {
  const isWanted = picomatch(pattern, { dot: true });
  for (const { upstream, repository, allowed, tagFilter } of targets) {
    if (!allowed || repository === undefined) continue;
    const remote = remoteRepository(upstream, repository);
    const found: string[] = [];
    let last: string | undefined;
    let isThere = false;
    for (let page = 0; page < maxPages; page++) {
      const listed = await listings.tags(remote, { n: pageSize, last });
      if (listed.kind !== "found") break;
      isThere = true;
      const { tags, more } = listed.answer;
      found.push(
        ...tags.filter((tag) => parseTag(tag) !== undefined && isWanted(tag) && tagFilter?.(tag) !== false),
      );
      last = tags.at(-1);
      if (!more || last === undefined) break;
    }
    if (isThere) return found.length === 0 ? `no tag matches ${pattern}` : found.slice(-maxTags);
  }
  return "no upstream has such a repository, or none allows it";
}
