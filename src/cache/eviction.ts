// Keeps the store within its byte budget and the file system within its reserve: least recently used first, on
// line, never a blob a client is reading or a fill is writing.
import type { Digest } from "../oci/digest.ts";
import type { NoticeSink } from "../telemetry/event.ts";
import type { BlobIndex, BlobStore, Clock } from "./ports.ts";
import { noticeOfStoreError } from "./store-notice.ts";

/** Rows looked at in one turn of the event loop, and removed in one write. */
const batch = 100;
/** Blobs one pass fails to delete before it gives up. */
const maxFailures = 100;

export interface EvictionOptions {
  readonly store: Pick<BlobStore, "delete">;
  readonly index: BlobIndex;
  /** Bytes the stored blobs may take. */
  readonly maxSize: number;
  /** Fraction of `maxSize` a pass goes down to, so that passes are rare. */
  readonly evictTo: number;
  /** Fraction of the file system to keep free. */
  readonly keepFree: number;
  readonly freeSpace: () => Promise<{ readonly free: number; readonly total: number }>;
  /** Bytes of spools, as long as they will be. */
  readonly fillingBytes: () => number;
  readonly inUse: (digest: Digest) => boolean;
  /** Told of every blob removed, before its file goes. */
  readonly evicting: (digest: Digest) => void;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

type OldBlob = ReturnType<BlobIndex["oldest"]>[number];

export class Eviction {
  readonly #options: EvictionOptions;
  #running: Promise<void> | undefined;
  #wanted = 0;

  constructor(options: EvictionOptions) {
    this.#options = options;
  }

  /** Starts a pass when the budget is exceeded; cheap enough to be called after every commit. */
  check(): void {
    const { index, maxSize, fillingBytes } = this.#options;
    try {
      if (index.totals().bytes + fillingBytes() > maxSize) void this.run();
    } catch (error) {
      this.#options.notices(noticeOfStoreError("index.totals", error));
    }
  }

  /**
   * One pass, at most one at a time: down to the budget and the free-space reserve, and by at least `wanted` bytes.
   * Resolves when done or when nothing more can go; failures are notices, and a blob that cannot be deleted stays.
   */
  run(wanted = 0): Promise<void> {
    this.#wanted = Math.max(this.#wanted, wanted);
    this.#running ??= this.#pass()
      .catch((error: unknown) => this.#options.notices(noticeOfStoreError("evict", error)))
      .finally(() => {
        this.#running = undefined;
        this.#wanted = 0;
      });
    return this.#running;
  }

  async #pass(): Promise<void> {
    const { index, maxSize, evictTo, keepFree, freeSpace, fillingBytes } = this.#options;
    const { free, total } = await freeSpace();
    const used = index.totals().bytes + fillingBytes();
    const overBudget = used > maxSize ? used - maxSize * evictTo : 0;
    const overDisk = Math.max(0, total * keepFree - free);
    const reason = overDisk > overBudget || (overBudget === 0 && this.#wanted > 0) ? "low_disk" : "lru";
    const passedOver = new Set<Digest>();
    const wanted = (): number => Math.max(overBudget, overDisk, this.#wanted);
    let freed = 0;
    let failures = 0;
    for (let over = false; !over; ) {
      const oldest = index.oldest(batch + passedOver.size).filter(({ digest }) => !passedOver.has(digest));
      if (oldest.length === 0) return;
      const deleted: OldBlob[] = [];
      for (const blob of oldest) {
        over = freed >= wanted() || failures === maxFailures;
        if (over) break;
        if (this.#options.inUse(blob.digest)) passedOver.add(blob.digest);
        else if (await this.#delete(blob.digest)) {
          deleted.push(blob);
          freed += blob.size;
        } else {
          passedOver.add(blob.digest);
          failures++;
        }
      }
      await this.#forget(deleted, reason);
    }
  }

  /** False when the store cannot delete it. */
  async #delete(digest: Digest): Promise<boolean> {
    const { store, evicting, notices } = this.#options;
    evicting(digest);
    try {
      await store.delete(digest);
      return true;
    } catch (error) {
      notices(noticeOfStoreError("evict", error));
      return false;
    }
  }

  async #forget(deleted: readonly OldBlob[], reason: "lru" | "low_disk"): Promise<void> {
    const { index, notices, clock } = this.#options;
    await index.removeUnused(deleted);
    for (const { digest, size, usedAt } of deleted)
      notices({
        kind: "eviction",
        reason,
        digest,
        bytes: size,
        ageMs: Math.max(0, clock() - usedAt),
        orphaned: index.manifestsNaming(digest),
      });
  }
}
