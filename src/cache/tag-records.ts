// Tag records in a store that may fail: each failure is told and costs a question to upstream, nothing more.
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { NoticeSink } from "../telemetry/event.ts";
import type { TagRecord, TagStore, Upstream } from "./ports.ts";
import { flightKey } from "./single-flight.ts";
import { noticeOfStoreError } from "./store-notice.ts";

/** Digests remembered as deleted upstream: tags are looked up by name, so that theirs cannot be found and dropped. */
const maxDeleted = 1_000;

export class TagRecords {
  readonly #tags: TagStore;
  readonly #notices: NoticeSink;
  /** When they were. */
  readonly #deleted = new LRUCache<string, number>({ max: maxDeleted });

  constructor(tags: TagStore, notices: NoticeSink) {
    this.#tags = tags;
    this.#notices = notices;
  }

  /** Undefined also for a record of before its digest was deleted. */
  async get(upstream: Upstream, repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    const record = await this.#told("tags.get", () => this.#tags.get(upstream.name, repository, tag));
    if (record === undefined || this.#deleted.size === 0) return record;
    const deleted = this.#deleted.get(flightKey(upstream.name, repository, record.digest));
    return deleted !== undefined && deleted >= record.checkedAt ? undefined : record;
  }

  /** Upstream has deleted the digest, at this time in milliseconds, and with it every tag that named it. */
  digestDeleted(upstream: Upstream, repository: Repository, digest: Digest, at: number): void {
    this.#deleted.set(flightKey(upstream.name, repository, digest), at);
  }

  /** `known` is the record that upstream was asked about: one from the future would refuse the new one. */
  async put(
    upstream: Upstream,
    repository: Repository,
    tag: Tag,
    record: TagRecord,
    known: TagRecord | undefined,
  ): Promise<void> {
    if (known !== undefined && known.checkedAt > record.checkedAt)
      await this.delete(upstream, repository, tag);
    await this.#told("tags.put", () => this.#tags.put(upstream.name, repository, tag, record));
  }

  async delete(upstream: Upstream, repository: Repository, tag: Tag): Promise<void> {
    await this.#told("tags.delete", () => this.#tags.delete(upstream.name, repository, tag));
  }

  async #told<Value>(op: string, work: () => Promise<Value>): Promise<Value | undefined> {
    try {
      return await work();
    } catch (error) {
      this.#notices(noticeOfStoreError(op, error));
      return undefined;
    }
  }
}
