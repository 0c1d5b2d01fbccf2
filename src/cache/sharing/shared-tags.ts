// Tag records of this node over those all nodes share. The local ones answer; the shared ones are looked at once in a
// while, and at once when another node says that one has changed. Without them a node knows what it knew.
import { LRUCache } from "lru-cache";
import type { Repository, Tag } from "../../oci/name.ts";
import type { Clock } from "../../ports/clock.ts";
import { keyOf } from "../../ports/keys.ts";
import type { TagRecord, TagStore } from "../../ports/records.ts";
import type { LayeredOptions } from "../../ports/shared.ts";
import { SingleFlight } from "../../ports/single-flight.ts";
import { orNotice } from "../../ports/store-notice.ts";
import { boundedByKeys } from "../memory-size.ts";

/** Milliseconds in which the shared record of a tag is not looked at again. */
const lookInterval = 5_000;
export interface SharedTagsOptions extends LayeredOptions<TagStore> {
  readonly clock: Clock;
  readonly steady: Clock;
}

/** Rejects with StoreError when the local store fails; the shared one failing is told and costs nothing else. */
export class SharedTags implements TagStore {
  readonly #options: SharedTagsOptions;
  /** Tags whose shared record has been looked at, or written, just now. */
  readonly #known: LRUCache<string, true>;
  /** Tags that another node has changed since: what the shared store says of them goes before the local copy. */
  readonly #outdated = new LRUCache<string, true>(boundedByKeys);
  /**
   * When tags were deleted here: a shared record from before is not believed. Redis may not have heard of it, or
   * another node may have written what it asked upstream for before. By the steady clock.
   */
  readonly #deleted = new LRUCache<string, number>(boundedByKeys);
  readonly #looks = new SingleFlight<TagRecord | undefined>();
  /** How often announcements may have been missed. */
  #gaps = 0;

  constructor(options: SharedTagsOptions) {
    this.#options = options;
    const perf = { now: options.steady };
    this.#known = new LRUCache<string, true>({ ...boundedByKeys, ttl: lookInterval, ttlResolution: 0, perf });
    options.announcements.subscribe(
      (announcement) => {
        if (announcement.kind !== "tag") return;
        const { upstream, repository, tag } = announcement;
        const key = keyOf(upstream, repository, tag);
        this.#forget(key);
        this.#outdated.set(key, true);
      },
      () => {
        this.#gaps++;
        this.#known.clear();
      },
    );
  }

  async get(upstream: string, repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    const { local, usable } = this.#options;
    const key = keyOf(upstream, repository, tag);
    if (this.#known.has(key) || !usable()) return await local.get(upstream, repository, tag);
    const gaps = this.#gaps;
    return await this.#looks.run(key, async (counts) => {
      const record = await this.#look({ upstream, repository, tag, key, counts });
      if (counts() && gaps === this.#gaps) this.#known.set(key, true);
      return record;
    }).promise;
  }

  async put(upstream: string, repository: Repository, tag: Tag, record: TagRecord): Promise<boolean> {
    const { local, shared, announcements } = this.#options;
    const key = keyOf(upstream, repository, tag);
    const before = await local.get(upstream, repository, tag);
    this.#forget(key);
    if (!(await local.put(upstream, repository, tag, record))) return false;
    const put = await this.#askShared("redis.tags.put", () => shared.put(upstream, repository, tag, record));
    if (put === false) {
      // Another node knows better; the next look brings it here.
      this.#outdated.set(key, true);
      await this.get(upstream, repository, tag);
      return false;
    }
    this.#outdated.delete(key);
    if (put === true) {
      this.#deleted.delete(key);
      this.#known.set(key, true);
    }
    if (before?.digest !== record.digest) announcements.publish({ kind: "tag", upstream, repository, tag });
    return true;
  }

  async delete(upstream: string, repository: Repository, tag: Tag): Promise<void> {
    const { local, announcements, steady } = this.#options;
    const key = keyOf(upstream, repository, tag);
    this.#forget(key);
    this.#outdated.delete(key);
    this.#deleted.set(key, steady());
    await local.delete(upstream, repository, tag);
    await this.#deleteShared(upstream, repository, tag, key);
    announcements.publish({ kind: "tag", upstream, repository, tag });
  }

  /** The shared record, when it is to be preferred, else the local one. Brings the local one up to date. */
  async #look({ upstream, repository, tag, key, counts }: Look): Promise<TagRecord | undefined> {
    const { local, shared } = this.#options;
    const here = await local.get(upstream, repository, tag);
    const asked = await this.#askShared("redis.tags.get", async () => ({
      record: await shared.get(upstream, repository, tag),
    }));
    if (asked === undefined || !counts()) return await local.get(upstream, repository, tag);
    const outdated = this.#outdated.has(key);
    const there = await this.#believed(upstream, repository, tag, key, asked.record);
    if (there === undefined) {
      // Only what another node said has changed: a Redis that was emptied takes nothing away.
      if (!outdated || asked.record !== undefined) return here;
      this.#outdated.delete(key);
      await local.delete(upstream, repository, tag);
      return undefined;
    }
    this.#outdated.delete(key);
    if (!outdated && here !== undefined && here.checkedAt >= there.checkedAt) return here;
    if (outdated && here !== undefined && here.checkedAt > there.checkedAt)
      await local.delete(upstream, repository, tag);
    await local.put(upstream, repository, tag, there);
    return there;
  }

  /** The record, unless it is from before the tag was deleted here: then it goes. */
  async #believed(
    upstream: string,
    repository: Repository,
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
    await this.#deleteShared(upstream, repository, tag, key);
    return undefined;
  }

  async #deleteShared(upstream: string, repository: Repository, tag: Tag, key: string): Promise<void> {
    const deleted = await this.#askShared("redis.tags.delete", async () => {
      await this.#options.shared.delete(upstream, repository, tag);
      return true;
    });
    if (deleted === true) this.#known.set(key, true);
  }

  /** The next to ask looks again, and a look under way counts for nobody else. */
  #forget(key: string): void {
    this.#looks.detach(key);
    this.#known.delete(key);
  }

  /** Undefined when the shared store cannot say. */
  async #askShared<Value>(op: string, ask: () => Promise<Value>): Promise<Value | undefined> {
    const { usable, notices } = this.#options;
    return usable() ? await orNotice(op, notices, ask) : undefined;
  }
}

interface Look {
  readonly upstream: string;
  readonly repository: Repository;
  readonly tag: Tag;
  readonly key: string;
  readonly counts: () => boolean;
}
