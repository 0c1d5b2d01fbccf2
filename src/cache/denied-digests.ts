// Digests that are known only through denied tags. A rule about tags is about names, and content has a second name, its
// digest: while this node knows a digest through denied tags of a repository alone, the digest is denied there too. Of a
// digest it has not seen by a tag it knows nothing, so such a rule is no protection of secrets (SECURITY.md).
import type { Digest } from "../oci/digest.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { ImageGraph } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";

/**
 * Manifests examined for one digest, and tags and parents of each. A layer that more images than these share, all of
 * them denied, is denied.
 */
const maxManifests = 1_000;
const maxEach = 1_000;

export class DeniedDigests {
  readonly #graph: Pick<ImageGraph, "tagsNaming" | "parentsIn">;
  readonly #notices: NoticeSink;

  constructor(graph: Pick<ImageGraph, "tagsNaming" | "parentsIn">, notices: NoticeSink) {
    this.#graph = graph;
    this.#notices = notices;
  }

  /**
   * Whether every path from a tag of the repository to the digest begins at a tag that `permits` refuses, and there is
   * such a path. The digest may be the tag's own, a layer's, or that of one image of an index. A manifest that no tag and
   * no index names is a permitted path of its own. When the index of this node cannot be read, the digest is denied.
   */
  denies(scope: Scope, digest: Digest, permits: (tag: string) => boolean): boolean {
    try {
      return this.#denies(scope, digest, permits);
    } catch (error) {
      this.#notices(noticeOfStoreError("tags.naming", error));
      return true;
    }
  }

  #denies(scope: Scope, digest: Digest, permits: (tag: string) => boolean): boolean {
    let denied = false;
    const examined = new Set([digest]);
    for (const each of examined) {
      const tags = this.#graph.tagsNaming(scope, each, maxEach);
      if (tags.some(permits)) return false;
      denied ||= tags.length > 0;
      const parents = this.#graph.parentsIn(scope, each, maxEach);
      if (tags.length === 0 && parents.length === 0) return false;
      for (const parent of parents) if (examined.size < maxManifests) examined.add(parent);
    }
    return denied;
  }
}
