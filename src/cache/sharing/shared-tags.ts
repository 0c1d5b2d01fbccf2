// Tag records of this node, layered over those that all nodes share. The local ones answer. The shared ones are looked up
// every few seconds, and at once when another node announces that one has changed. While they cannot be asked, the local
// ones go on.
import { LRUCache } from "lru-cache";
import type { Tag } from "../../oci/name.ts";
import type { Clock } from "../../ports/clock.ts";
import type { TagRecord, TagStore } from "../../ports/records.ts";
import { keyIn, type Scope } from "../../ports/scope.ts";
import { askShared, type LayeredOptions } from "../../ports/shared.ts";
import { SingleFlight } from "../../ports/single-flight.ts";
import { boundedByKeys } from "../memory-size.ts";

/** Milliseconds in which the shared record of a tag is not looked up again. */
const lookupInterval = 5_000;

export interface SharedTagsOptions extends LayeredOptions<TagStore> {
  readonly clock: Clock;
  readonly steady: Clock;
}

/** Rejects with StoreError when the local store fails. When the shared one fails a notice is sent, and nothing else. */
export class SharedTags implements TagStore {
  readonly #options: SharedTagsOptions;
  /** Tags whose shared record has just been looked up or written. */
  readonly #current: LRUCache<string, true>;
  /** Tags that another node has changed since: for them the shared store takes precedence over the local copy. */
  readonly #outdated = new LRUCache<string, true>(boundedByKeys);
  /**
   * When tags were deleted here, by the steady clock. A shared record of before is not used: the deletion may not have
   * reached Redis, or another node may have written what it had asked upstream for before.
   */
  readonly #deleted = new LRUCache<string, number>(boundedByKeys);
  readonly #lookups = new SingleFlight<TagRecord | undefined>();
  /** How often announcements may have been missed. */
  #gaps = 0;

  constructor(options: SharedTagsOptions) {
    this.#options = options;
    const perf = { now: options.steady };
    this.#current = new LRUCache<string, true>({
      ...boundedByKeys,
      ttl: lookupInterval,
      ttlResolution: 0,
      perf,
    });
    options.announcements.subscribe(
      (announcement) => {
        if (announcement.kind !== "tag" && announcement.kind !== "confirmed") return;
        const { scope, tag } = announcement;
        const key = keyIn(scope, tag);
        this.#forget(key);
        if (announcement.kind === "tag") this.#outdated.set(key, true);
      },
      () => {
        this.#gaps++;
        this.#current.clear();
      },
    );
  }

  async get(scope: Scope, tag: Tag): Promise<TagRecord | undefined> {
    const { usable } = this.#options;
    const key = keyIn(scope, tag);
    if (this.#current.has(key) || !usable()) return await this.#here(scope, tag, key);
    const gaps = this.#gaps;
    return await this.#lookups.run(key, async (counts) => {
      const record = await this.#lookUp({ scope, tag, key, counts });
      if (counts() && gaps === this.#gaps) this.#current.set(key, true);
      return record;
    }).promise;
  }

  async put(scope: Scope, tag: Tag, record: TagRecord): Promise<boolean> {
    const { local, shared, announcements } = this.#options;
    const key = keyIn(scope, tag);
    const before = await local.get(scope, tag);
    this.#forget(key);
    if (!(await local.put(scope, tag, record))) return false;
    const put = await askShared("redis.tags.put", this.#options, () => shared.put(scope, tag, record));
    if (put === false) {
      // Another node has written a later record; the next lookup brings it here.
      this.#outdated.set(key, true);
      await this.get(scope, tag);
      return false;
    }
    this.#outdated.delete(key);
    if (put === true) {
      this.#deleted.delete(key);
      this.#current.set(key, true);
    }
    // Only what deletes has to be known everywhere before it is answered.
    const kind = before?.digest === record.digest ? "confirmed" : "tag";
    void announcements.publish({ kind, scope, tag });
    return true;
  }

  async delete(scope: Scope, tag: Tag): Promise<void> {
    const { local, announcements, steady } = this.#options;
    const key = keyIn(scope, tag);
    this.#forget(key);
    this.#outdated.delete(key);
    this.#deleted.set(key, steady());
    await local.delete(scope, tag);
    await this.#deleteShared(scope, tag, key);
    await announcements.publish({ kind: "tag", scope, tag });
  }

  /**
   * The local record. When another node has announced a change, and the shared one cannot be asked, nobody knows how old it is:
   * upstream is asked first then, as for a record of the future (cache/freshness.ts).
   */
  async #here(scope: Scope, tag: Tag, key: string): Promise<TagRecord | undefined> {
    const record = await this.#options.local.get(scope, tag);
    return record && this.#outdated.has(key) ? { ...record, checkedAt: Number.POSITIVE_INFINITY } : record;
  }

  /** The shared record when it takes precedence, else the local one. Brings the local one up to date. */
  async #lookUp({ scope, tag, key, counts }: Lookup): Promise<TagRecord | undefined> {
    const { local, shared } = this.#options;
    const here = await local.get(scope, tag);
    const asked = await askShared("redis.tags.get", this.#options, async () => ({
      record: await shared.get(scope, tag),
    }));
    if (asked === undefined || !counts()) return await this.#here(scope, tag, key);
    const outdated = this.#outdated.has(key);
    const theirs = await this.#notDeletedSince(scope, tag, key, asked.record);
    if (theirs === undefined) {
      // Only when another node has announced a change: a Redis that was emptied deletes nothing here.
      if (!outdated || asked.record !== undefined) return here;
      this.#outdated.delete(key);
      await local.delete(scope, tag);
      return undefined;
    }
    this.#outdated.delete(key);
    if (!outdated && here !== undefined && here.checkedAt >= theirs.checkedAt) return here;
    if (outdated && here !== undefined && here.checkedAt > theirs.checkedAt) await local.delete(scope, tag);
    await local.put(scope, tag, theirs);
    return theirs;
  }

  /** The shared record, unless the tag was deleted here after it: then the record is deleted too. */
  async #notDeletedSince(
    scope: Scope,
    tag: Tag,
    key: string,
    record: TagRecord | undefined,
  ): Promise<TagRecord | undefined> {
    const deletedAt = this.#deleted.get(key);
    if (record === undefined || deletedAt === undefined) return record;
    const { clock, steady } = this.#options;
    if (record.checkedAt > clock() - (steady() - deletedAt)) {
      this.#deleted.delete(key);
      return record;
    }
    await this.#deleteShared(scope, tag, key);
    return undefined;
  }

  async #deleteShared(scope: Scope, tag: Tag, key: string): Promise<void> {
    const deleted = await askShared("redis.tags.delete", this.#options, async () => {
      await this.#options.shared.delete(scope, tag);
      return true;
    });
    if (deleted === true) this.#current.set(key, true);
  }

  /** The next request looks up again, and no other request joins a lookup under way. */
  #forget(key: string): void {
    this.#lookups.detach(key);
    this.#current.delete(key);
  }
}

interface Lookup {
  readonly scope: Scope;
  readonly tag: Tag;
  readonly key: string;
  readonly counts: () => boolean;
}
