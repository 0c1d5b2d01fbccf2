// Links of a store with those found lately in memory. Every change has to come through here. Only what was found is
// remembered: that a link is missing is asked for each time, so nothing is refused that has been granted since.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/name.ts";
import { keyOf } from "../../ports/keys.ts";
import type { LinkedBlob, LinkStore, OwnLinks } from "../../ports/records.ts";
import { boundedByKeys } from "../memory-size.ts";

/** Rejects as the store does. */
export class RememberedLinks implements LinkStore {
  readonly #store: OwnLinks;
  readonly #found = new LRUCache<string, true>(boundedByKeys);
  /** Removals begun or done: what was found meanwhile may be gone. */
  #removals = 0;

  constructor(store: OwnLinks) {
    this.#store = store;
    store.onEnd((upstream, repository, digest) => this.#forget(keyOf(upstream, repository, digest)));
  }

  async has(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    const key = keyOf(upstream, repository, digest);
    if (this.#found.get(key) === true) return true;
    const removals = this.#removals;
    const found = await this.#store.has(upstream, repository, digest);
    if (found && removals === this.#removals) this.#found.set(key, true);
    return found;
  }

  named(upstream: string, repository: Repository, digest: Digest): Promise<boolean> {
    return this.#store.named(upstream, repository, digest);
  }

  add(upstream: string, repository: Repository, blobs: readonly LinkedBlob[]): Promise<void> {
    return this.#store.add(upstream, repository, blobs);
  }

  /** Grants nothing from its beginning on, also when it fails: the store is asked again then. */
  async remove(upstream: string, repository: Repository, digest: Digest): Promise<void> {
    const key = keyOf(upstream, repository, digest);
    this.#forget(key);
    try {
      await this.#store.remove(upstream, repository, digest);
    } finally {
      this.#forget(key);
    }
  }

  statedSize(...asked: Parameters<LinkStore["statedSize"]>): Promise<number | undefined> {
    return this.#store.statedSize(...asked);
  }

  #forget(key: string): void {
    this.#removals++;
    this.#found.delete(key);
  }
}
