// Tag records as the cache sees them: the store may fail, and a record may name a manifest that was deleted since.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { TagRecord, TagStore } from "../ports/records.ts";
import { keyIn, type Scope } from "../ports/scope.ts";
import { orNotice } from "../ports/store-notice.ts";
import { boundedByKeys } from "./memory-size.ts";

export interface TagRecordsOptions {
  readonly tags: TagStore;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
}

/** A failure of the store is a notice and costs a question to upstream, nothing more: nothing here rejects with it. */
export class TagRecords {
  readonly #tags: TagStore;
  readonly #notices: NoticeSink;
  readonly #clock: Clock;
  readonly #steady: Clock;
  /**
   * Manifests that were deleted by digest through this node, and when by the steady clock: how long ago that was does
   * not depend on how the other clock is set meanwhile.
   */
  readonly #deletedManifests = new LRUCache<string, number>(boundedByKeys);

  constructor({ tags, notices, clock, steady }: TagRecordsOptions) {
    this.#tags = tags;
    this.#notices = notices;
    this.#clock = clock;
    this.#steady = steady;
  }

  /** At once what is in memory. */
  get(scope: Scope, tag: Tag): TagRecord | undefined | Promise<TagRecord | undefined> {
    const found = this.#tags.get(scope, tag);
    return found instanceof Promise ? orNotice("tags.get", this.#notices, () => found) : found;
  }

  /**
   * `known` is the record that upstream was asked about. The store keeps the later of two records: a known one that is
   * from the future is deleted, so that it does not keep the new one out.
   */
  async put(scope: Scope, tag: Tag, record: TagRecord, known: TagRecord | undefined): Promise<void> {
    if (known !== undefined && known.checkedAt > record.checkedAt) await this.delete(scope, tag);
    await orNotice("tags.put", this.#notices, () => this.#tags.put(scope, tag, record));
  }

  async delete(scope: Scope, tag: Tag): Promise<void> {
    await orNotice("tags.delete", this.#notices, () => this.#tags.delete(scope, tag));
  }

  /**
   * A client has deleted the manifest by digest through this node. Registries drop every tag of it too, and do not say
   * which: a record that names it is doubtful from now on.
   */
  manifestDeleted(scope: Scope, digest: Digest): void {
    this.#deletedManifests.set(keyIn(scope, digest), this.#steady());
  }

  /** Whether the manifest that the record names was deleted after the record was confirmed. */
  isDoubtful(scope: Scope, { digest, checkedAt }: TagRecord): boolean {
    if (this.#deletedManifests.size === 0) return false;
    const deletedAt = this.#deletedManifests.get(keyIn(scope, digest));
    return deletedAt !== undefined && checkedAt <= this.#clock() - (this.#steady() - deletedAt);
  }
}
