// Tag records and links of a node with workers: a change that ends a right, or what a tag names, is done when no worker
// answers from before it any more. Whoever is told that something was pushed or deleted is told after that.
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/name.ts";
import type { LinkedBlob, LinkRemoval, LinkStore, TagRecord, TagStore } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import type { Forget } from "./grants.ts";

/** Resolves when no worker answers any more from what is to be forgotten. Never rejects. */
export type TellWorkers = (forget: Forget) => Promise<void>;

/** Rejects as the store does. */
export class AnnouncedTags implements TagStore {
  readonly #store: TagStore;
  readonly #tell: TellWorkers;

  constructor(store: TagStore, tell: TellWorkers) {
    this.#store = store;
    this.#tell = tell;
  }

  get(scope: Scope, tag: Tag): ReturnType<TagStore["get"]> {
    return this.#store.get(scope, tag);
  }

  async put(scope: Scope, tag: Tag, record: TagRecord): Promise<boolean> {
    const before = await this.#store.get(scope, tag);
    const put = await this.#store.put(scope, tag, record);
    // Also of a tag that was not known: its digest may have been granted, and be denied under this name.
    if (put && before?.digest !== record.digest) await this.#tell(scope);
    return put;
  }

  async delete(scope: Scope, tag: Tag): Promise<void> {
    const before = await this.#store.get(scope, tag);
    await this.#store.delete(scope, tag);
    if (before !== undefined) await this.#tell(scope);
  }
}

/** Rejects as the store does. */
export class AnnouncedLinks implements LinkStore {
  readonly #store: LinkStore;
  readonly #tell: TellWorkers;

  constructor(store: LinkStore, tell: TellWorkers) {
    this.#store = store;
    this.#tell = tell;
  }

  has(...asked: Parameters<LinkStore["has"]>): ReturnType<LinkStore["has"]> {
    return this.#store.has(...asked);
  }

  named(...asked: Parameters<LinkStore["named"]>): Promise<boolean> {
    return this.#store.named(...asked);
  }

  add(scope: Scope, blobs: readonly LinkedBlob[]): Promise<void> {
    return this.#store.add(scope, blobs);
  }

  async remove(scope: Scope, digest: Digest): Promise<void> {
    const known = await this.#store.named(scope, digest);
    await this.#store.remove(scope, digest);
    // What upstream shows in one repository may prove the right of others.
    if (known) await this.#tell({ upstream: scope.upstream });
  }

  async removeAll(scope: Scope, digests: readonly Digest[], removal?: LinkRemoval): Promise<boolean> {
    const isDone = await this.#store.removeAll(scope, digests, removal);
    await this.#tell({ upstream: scope.upstream });
    return isDone;
  }

  statedSize(...asked: Parameters<LinkStore["statedSize"]>): Promise<number | undefined> {
    return this.#store.statedSize(...asked);
  }
}
