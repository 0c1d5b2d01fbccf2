// Tag records in a store that may fail: each failure is told and costs a question to upstream, nothing more.
import type { Repository, Tag } from "../oci/name.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { TagRecord, TagStore } from "../ports/records.ts";
import { orNotice } from "../ports/store-notice.ts";
import type { Upstream } from "../ports/upstream.ts";

export class TagRecords {
  readonly #tags: TagStore;
  readonly #notices: NoticeSink;

  constructor(tags: TagStore, notices: NoticeSink) {
    this.#tags = tags;
    this.#notices = notices;
  }

  get(upstream: Upstream, repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    return this.#orNotice("tags.get", () => this.#tags.get(upstream.name, repository, tag));
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
    await this.#orNotice("tags.put", () => this.#tags.put(upstream.name, repository, tag, record));
  }

  async delete(upstream: Upstream, repository: Repository, tag: Tag): Promise<void> {
    await this.#orNotice("tags.delete", () => this.#tags.delete(upstream.name, repository, tag));
  }

  #orNotice<Value>(op: string, work: () => Promise<Value>): Promise<Value | undefined> {
    return orNotice(op, this.#notices, work);
  }
}
