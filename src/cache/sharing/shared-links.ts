// Links of this node, layered over those that all nodes share: a right that one node has proved, no other has to prove again.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { LinkedBlob, LinkRemoval, LinkStore } from "../../ports/records.ts";
import { keyIn, type Scope } from "../../ports/scope.ts";
import { askShared, type LayeredOptions } from "../../ports/shared.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { boundedByKeys } from "../memory-size.ts";

export interface SharedLinksOptions extends LayeredOptions<LinkStore> {
  /**
   * Whether what other nodes say of the upstream's repositories counts for nothing here: they may have gone by other rules;
   * left out: of none.
   */
  readonly onlyOwn?: ((upstream: string) => boolean) | undefined;
}

/** Rejects with StoreError when the local store fails. When the shared one fails a notice is sent, and nothing else. */
export class SharedLinks implements LinkStore {
  readonly #options: SharedLinksOptions;
  /**
   * Links removed here, and whether they have been removed from the shared store too. Until upstream shows the digest
   * again they grant nothing, whatever the shared store says (CVE-2026-35172 class).
   */
  readonly #removed = new LRUCache<string, boolean>(boundedByKeys);

  constructor(options: SharedLinksOptions) {
    this.#options = options;
    options.announcements.subscribe(
      (announcement) => {
        if (announcement.kind !== "unlinked") return;
        const { scope, digest } = announcement;
        options.local
          .remove(scope, digest)
          .catch((error: unknown) => options.notices(noticeOfStoreError("links.remove", error)));
      },
      // Announcements may be lost: a link that stays because of that is one that a node alone would have kept.
      () => {},
    );
  }

  async has(scope: Scope, digest: Digest): Promise<boolean> {
    const { local, shared, onlyOwn } = this.#options;
    if (await local.has(scope, digest)) return true;
    if (onlyOwn?.(scope.upstream) === true) return false;
    const key = keyIn(scope, digest);
    const removedThere = this.#removed.get(key);
    if (removedThere === false) await this.#removeShared(scope, digest, key);
    if (removedThere !== undefined) return false;
    const found = await askShared("redis.links.has", this.#options, async () => shared.has(scope, digest));
    if (found !== true || this.#removed.has(key)) return false;
    await local.add(scope, [{ digest, size: undefined }]);
    return true;
  }

  named(scope: Scope, digest: Digest): Promise<boolean> {
    return this.#options.local.named(scope, digest);
  }

  async add(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void> {
    const { local, shared } = this.#options;
    if (this.#removed.size > 0) for (const { digest } of blobs) this.#removed.delete(keyIn(scope, digest));
    await local.add(scope, blobs);
    if (!this.#options.usable()) return;
    const proved = await this.#proved(scope, blobs);
    if (proved.length > 0) await askShared("redis.links.add", this.#options, () => shared.add(scope, proved));
  }

  /** Other nodes do not know what upstream has shown to this one, so only links that count here are shared. */
  async #proved(scope: Scope, blobs: readonly LinkedBlob[]): Promise<LinkedBlob[]> {
    const proved: LinkedBlob[] = [];
    for (const { digest, size, named } of blobs) {
      if (!named || (await this.#options.local.has(scope, digest))) proved.push({ digest, size });
    }
    return proved;
  }

  async remove(scope: Scope, digest: Digest): Promise<void> {
    const { local, announcements } = this.#options;
    const key = keyIn(scope, digest);
    this.#removed.set(key, false);
    await local.remove(scope, digest);
    await this.#removeShared(scope, digest, key);
    await announcements.publish({ kind: "unlinked", scope, digest });
  }

  async removeAll(scope: Scope, digests: readonly Digest[], removal: LinkRemoval = {}): Promise<boolean> {
    const { local, shared } = this.#options;
    const { only } = removal;
    if (only === undefined) for (const digest of digests) this.#removed.set(keyIn(scope, digest), false);
    if (only !== "shared") await local.removeAll(scope, digests);
    if (only === "node") return true;
    const left = digests.filter((digest) => this.#removed.get(keyIn(scope, digest)) === false);
    const removed = await askShared("redis.links.remove", this.#options, () =>
      shared.removeAll(scope, only === "shared" ? left : digests, removal),
    );
    if (removed !== true) return false;
    for (const digest of left) {
      const key = keyIn(scope, digest);
      if (this.#removed.has(key)) this.#removed.set(key, true);
    }
    return true;
  }

  async statedSize(...asked: Parameters<LinkStore["statedSize"]>): Promise<number | undefined> {
    const { local, shared } = this.#options;
    return (
      (await local.statedSize(...asked)) ??
      (await askShared("redis.links.size", this.#options, () => shared.statedSize(...asked)))
    );
  }

  async #removeShared(scope: Scope, digest: Digest, key: string): Promise<void> {
    const removed = await askShared("redis.links.remove", this.#options, async () => {
      await this.#options.shared.remove(scope, digest);
      return true;
    });
    if (removed === true && this.#removed.has(key)) this.#removed.set(key, true);
  }
}
