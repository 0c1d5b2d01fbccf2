// Tag records and links of this node's own stores, with those asked for lately in memory: a row from the index is a large
// share of what a cached manifest costs. Every change has to come through here. What is missing is not remembered, so
// that nothing is refused that has been granted since.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { LinkedBlob, LinkStore, OwnLinks, TagRecord, TagStore } from "../../ports/records.ts";
import { keyIn, type Scope } from "../../ports/scope.ts";
import { boundedByKeys } from "../memory-size.ts";

/** Values found lately, by key: at most what `boundedByKeys` allows. */
class Remembered<Value extends TagRecord | true> {
  readonly #values = new LRUCache<string, Value>(boundedByKeys);
  /** Changes begun or done: what was read meanwhile may be older than they are. */
  #changes = 0;

  get(key: string): Value | undefined {
    return this.#values.get(key);
  }

  /** Remembers what the store finds, unless something changes meanwhile. Rejects as `find` does. */
  async read(
    key: string,
    find: () => Value | undefined | Promise<Value | undefined>,
  ): Promise<Value | undefined> {
    const changes = this.#changes;
    const value = await find();
    if (value !== undefined && changes === this.#changes) this.#values.set(key, value);
    return value;
  }

  /** Forgets the key before the change and after it, also when it fails: then it is not known what the store holds. */
  async change<Result>(key: string, change: () => Promise<Result>): Promise<Result> {
    this.forget(key);
    try {
      return await change();
    } finally {
      this.forget(key);
    }
  }

  forget(key: string): void {
    this.#changes++;
    this.#values.delete(key);
  }
}

/** Rejects as the store does. */
export class RememberedTags implements TagStore {
  readonly #store: TagStore;
  readonly #records = new Remembered<TagRecord>();

  constructor(store: TagStore) {
    this.#store = store;
  }

  get(scope: Scope, tag: Tag): TagRecord | Promise<TagRecord | undefined> {
    const key = keyIn(scope, tag);
    return this.#records.get(key) ?? this.#records.read(key, () => this.#store.get(scope, tag));
  }

  put(scope: Scope, tag: Tag, record: TagRecord): Promise<boolean> {
    const key = keyIn(scope, tag);
    return this.#records.change(key, () => this.#store.put(scope, tag, record));
  }

  delete(scope: Scope, tag: Tag): Promise<void> {
    const key = keyIn(scope, tag);
    return this.#records.change(key, () => this.#store.delete(scope, tag));
  }
}

/** Rejects as the store does. Links that the store ends by itself are forgotten too. */
export class RememberedLinks implements LinkStore {
  readonly #store: OwnLinks;
  readonly #found = new Remembered<true>();

  constructor(store: OwnLinks) {
    this.#store = store;
    store.onEnd((scope, digest) => this.#found.forget(keyIn(scope, digest)));
  }

  has(scope: Scope, digest: Digest): boolean | Promise<boolean> {
    const key = keyIn(scope, digest);
    if (this.#found.get(key) === true) return true;
    const find = async (): Promise<true | undefined> => (await this.#store.has(scope, digest)) || undefined;
    return this.#found.read(key, find).then((found) => found === true);
  }

  named(scope: Scope, digest: Digest): Promise<boolean> {
    return this.#store.named(scope, digest);
  }

  add(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void> {
    return this.#store.add(scope, blobs);
  }

  /** From its beginning on the link grants nothing. */
  remove(scope: Scope, digest: Digest): Promise<void> {
    const key = keyIn(scope, digest);
    return this.#found.change(key, () => this.#store.remove(scope, digest));
  }

  async removeAll(scope: Scope, digests: readonly Digest[]): Promise<boolean> {
    const forget = (): void => {
      for (const digest of digests) this.#found.forget(keyIn(scope, digest));
    };
    forget();
    return await this.#store.removeAll(scope, digests).finally(forget);
  }

  statedSize(...asked: Parameters<LinkStore["statedSize"]>): Promise<number | undefined> {
    return this.#store.statedSize(...asked);
  }
}
