// Blobs that an operator has had deleted (purger.ts), so that nothing that was under way brings them back.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Clock } from "../../ports/clock.ts";
import { clockSkew } from "../../ports/purge/purges.ts";
import { boundedByKeys } from "../memory-size.ts";

interface Purged {
  readonly count: number;
  readonly at: number;
}

export class PurgedBlobs {
  readonly #clock: Clock;
  /** The last purge of what is not remembered any more: it is taken for one of all other blobs. */
  #forgotten: Purged | undefined;
  readonly #last = new LRUCache<Digest, Purged>({
    ...boundedByKeys,
    dispose: (purged, _, reason) => {
      if (reason === "evict" && purged.count >= (this.#forgotten?.count ?? 0)) this.#forgotten = purged;
    },
  });
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** To be taken before something is asked for that may bring a blob here. */
  get count(): number {
    return this.#count;
  }

  add(digests: Iterable<Digest>): void {
    const entry = { count: ++this.#count, at: this.#clock() };
    for (const digest of digests) this.#last.set(digest, entry);
  }

  /** Whether the blob was deleted after `count` was that number: the answer to what was asked before is not kept. */
  hasSince(digest: Digest, count: number): boolean {
    return count !== this.#count && (this.#of(digest)?.count ?? 0) > count;
  }

  /** Whether it was deleted seconds ago: S3 or another node may still have it, and upstream alone is asked. */
  hasJust(digest: Digest): boolean {
    if (this.#count === 0) return false;
    const at = this.#of(digest)?.at;
    return at !== undefined && Math.abs(this.#clock() - at) < clockSkew;
  }

  #of(digest: Digest): Purged | undefined {
    return this.#last.get(digest) ?? this.#forgotten;
  }
}
