// Blobs that an operator has had deleted (purger.ts), so that nothing that was under way brings them back.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Clock } from "../../ports/clock.ts";
import { clockSkew } from "../../ports/purge/purges.ts";
import { boundedByKeys } from "../memory-size.ts";

export class PurgedBlobs {
  readonly #clock: Clock;
  readonly #last = new LRUCache<Digest, { readonly count: number; readonly at: number }>(boundedByKeys);
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
    return count !== this.#count && (this.#last.get(digest)?.count ?? 0) > count;
  }

  /** Whether it was deleted seconds ago: S3 or another node may still have it, and upstream alone is asked. */
  hasJust(digest: Digest): boolean {
    if (this.#count === 0) return false;
    const at = this.#last.get(digest)?.at;
    return at !== undefined && Math.abs(this.#clock() - at) < clockSkew;
  }
}
