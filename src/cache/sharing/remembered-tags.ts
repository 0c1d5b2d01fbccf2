// Tag records of a store with those asked for lately in memory: a row from the index costs a cached manifest a tenth of
// all its work. Every change has to come through here; what changes is forgotten, never guessed.
import { LRUCache } from "lru-cache";
import type { Repository, Tag } from "../../oci/name.ts";
import { keyOf } from "../../ports/keys.ts";
import type { TagRecord, TagStore } from "../../ports/records.ts";
import { boundedByKeys } from "../memory-size.ts";

/** Rejects as the store does. */
export class RememberedTags implements TagStore {
  readonly #store: TagStore;
  readonly #records = new LRUCache<string, TagRecord>(boundedByKeys);
  /** Changes begun or done: what was read meanwhile may be of before. */
  #changes = 0;

  constructor(store: TagStore) {
    this.#store = store;
  }

  async get(upstream: string, repository: Repository, tag: Tag): Promise<TagRecord | undefined> {
    const key = keyOf(upstream, repository, tag);
    const remembered = this.#records.get(key);
    if (remembered !== undefined) return remembered;
    const changes = this.#changes;
    const record = await this.#store.get(upstream, repository, tag);
    if (record !== undefined && changes === this.#changes) this.#records.set(key, record);
    return record;
  }

  async put(upstream: string, repository: Repository, tag: Tag, record: TagRecord): Promise<boolean> {
    const key = keyOf(upstream, repository, tag);
    return await this.#changing(key, () => this.#store.put(upstream, repository, tag, record));
  }

  async delete(upstream: string, repository: Repository, tag: Tag): Promise<void> {
    const key = keyOf(upstream, repository, tag);
    await this.#changing(key, () => this.#store.delete(upstream, repository, tag));
  }

  /** Forgotten also when it fails: then nobody knows what the store holds. */
  async #changing<Value>(key: string, change: () => Promise<Value>): Promise<Value> {
    this.#forget(key);
    try {
      return await change();
    } finally {
      this.#forget(key);
    }
  }

  #forget(key: string): void {
    this.#changes++;
    this.#records.delete(key);
  }
}
