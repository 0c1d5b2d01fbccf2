// Manifests somebody has deleted by digest through this node. Registries drop every tag of such a manifest as well, and
// nobody says which: a tag record that names it is confirmed before it is believed again.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import { keyOf } from "../ports/keys.ts";
import type { TagRecord } from "../ports/records.ts";
import type { Upstream } from "../ports/upstream.ts";
import { boundedByKeys } from "./memory-size.ts";

export class DeletedManifests {
  readonly #clock: Clock;
  readonly #steady: Clock;
  /** When, by the steady clock: what is left of it does not depend on how the other is set meanwhile. */
  readonly #deleted = new LRUCache<string, number>(boundedByKeys);

  constructor(clock: Clock, steady: Clock) {
    this.#clock = clock;
    this.#steady = steady;
  }

  add(upstream: Upstream, repository: Repository, digest: Digest): void {
    this.#deleted.set(keyOf(upstream.name, repository, digest), this.#steady());
  }

  /** Whether the record is of before the deletion of what it names. */
  doubts(upstream: Upstream, repository: Repository, { digest, checkedAt }: TagRecord): boolean {
    if (this.#deleted.size === 0) return false;
    const deletedAt = this.#deleted.get(keyOf(upstream.name, repository, digest));
    return deletedAt !== undefined && checkedAt <= this.#clock() - (this.#steady() - deletedAt);
  }
}
