// Digests that only denied tags stand for. A rule about tags is one about names, and content has another: while this node
// knows a digest through denied tags of a repository alone, it is denied there too. What it has not seen by a tag it
// cannot tell; such a rule is no wall (SECURITY.md).
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { ImageGraph } from "../ports/records.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import type { Upstream } from "../ports/upstream.ts";

/**
 * Manifests looked at for one digest, and tags and parents of each. A layer that more images than these have in common,
 * all of them denied, is denied.
 */
const maxManifests = 1_000;
const maxEach = 1_000;

export class DeniedDigests {
  readonly #graph: ImageGraph;
  readonly #notices: NoticeSink;

  constructor(graph: ImageGraph, notices: NoticeSink) {
    this.#graph = graph;
    this.#notices = notices;
  }

  /**
   * Whether every way from a tag of the repository to the digest, by itself, as a layer or as one image of an index,
   * begins at a tag that `permits` refuses, and there is one. A manifest that no tag and no index stands for is a way of
   * its own. An index that cannot be read denies.
   */
  denies(
    upstream: Upstream,
    repository: Repository,
    digest: Digest,
    permits: (tag: string) => boolean,
  ): boolean {
    try {
      return this.#denies(upstream.name, repository, digest, permits);
    } catch (error) {
      this.#notices(noticeOfStoreError("tags.naming", error));
      return true;
    }
  }

  #denies(
    upstream: string,
    repository: Repository,
    digest: Digest,
    permits: (tag: string) => boolean,
  ): boolean {
    let denied = false;
    const looked = new Set([digest]);
    for (const each of looked) {
      const tags = this.#graph.tagsNaming(upstream, repository, each, maxEach);
      if (tags.some(permits)) return false;
      denied ||= tags.length > 0;
      const parents = this.#graph.parentsIn(upstream, repository, each, maxEach);
      if (tags.length === 0 && parents.length === 0) return false;
      for (const parent of parents) if (looked.size < maxManifests) looked.add(parent);
    }
    return denied;
  }
}
