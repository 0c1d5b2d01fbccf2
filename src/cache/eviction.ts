// Keeps the store within its byte budget and the file system within its reserve, while requests are served. Small blobs and
// manifests have a share of the room of their own, in which the least recently used goes first: they are most of what is asked
// for and next to none of the bytes. Of the large ones the least often used goes, in time. Never one that a client is reading
// or a fill is writing, nor one that is held for a pinned image. docs/design.md says what that is worth.
import type { Digest } from "../oci/digest.ts";
import type { BlobStore } from "../ports/blobs.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { PinLookup } from "../ports/pins/pins.ts";
import { type BlobIndex, type BlobKind, roomOfSmallBlobs } from "../ports/records.ts";
import { SharedCall } from "../ports/single-flight.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import { eachAtOnce } from "../ports/turns.ts";

/** Rows read in one turn of the event loop, and removed in one write. */
const batch = 100;
/**
 * Files deleted at once. Each deletion waits in Node's pool of threads behind what new blobs write, so one after the other they
 * go more slowly than small blobs come.
 */
const atOnce = 16;
/** Blobs one pass fails to delete before it gives up. */
const maxFailures = 100;
/**
 * Share of the room that manifests have for themselves: above it they go first, as small blobs do above theirs. Up to it they
 * go last of all: four of five requests for one are polls, which need nothing else.
 */
const manifestShare = 0.03;
/** Files that must be possible on the disk at least: a spool, its directory in the store, and those of the index. */
const fewestFiles = 8;

/** The file system of the cache. */
export interface Space {
  /** Bytes. */
  readonly free: number;
  readonly total: number;
  /** Inodes; undefined where the file system does not count them. */
  readonly files?: { readonly free: number; readonly total: number } | undefined;
}

export interface EvictionLimits {
  /** Bytes the stored blobs may take. */
  readonly maxSize: number;
  /** Bytes below which a blob is a small one. */
  readonly smallBlob: number;
  /** Fraction of `maxSize` a pass goes down to, so that passes are rare; of what is pinned nothing goes, and it is not counted. */
  readonly evictTo: number;
  /** Fraction of the file system to keep free, of its bytes and of its inodes. */
  readonly keepFree: number;
}

export interface EvictionOptions {
  readonly store: Pick<BlobStore, "delete">;
  readonly index: BlobIndex;
  /** Read at every use. */
  readonly limits: () => EvictionLimits;
  readonly freeSpace: () => Promise<Space>;
  /** Bytes of spools, at the length they will have. */
  readonly fillingBytes: () => number;
  readonly inUse: (digest: Digest) => boolean;
  /** Left out: nothing is pinned. */
  readonly pins?: Pick<PinLookup, "isHeld"> | undefined;
  /** Called for every blob removed, before its file is deleted. */
  readonly evicting: (digest: Digest) => void;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

type OldBlob = ReturnType<BlobIndex["leastWorth"]>[number];

export class Eviction {
  readonly #options: EvictionOptions;
  readonly #passes = new SharedCall<void>();
  #wanted = 0;

  constructor(options: EvictionOptions) {
    this.#options = options;
  }

  /** Starts a pass when the budget is exceeded; cheap enough to be called after every commit. */
  check(): void {
    const { limits, fillingBytes } = this.#options;
    const sizes = this.#sizes();
    if (sizes !== undefined && sizes.blobs + sizes.own + fillingBytes() > limits().maxSize) void this.run();
  }

  /** Bytes of stored blobs and of the index itself; undefined, with a notice, when the index fails: then only the disk counts. */
  #sizes(): { readonly blobs: number; readonly own: number; readonly pinned: number } | undefined {
    const { index, notices } = this.#options;
    try {
      return { blobs: index.totals().bytes, own: index.ownBytes(), pinned: index.pinnedBytes() };
    } catch (error) {
      notices(noticeOfStoreError("index.totals", error));
      return undefined;
    }
  }

  /**
   * Makes room for a new blob of `size` bytes, where that is known. False for one that would not fit if all that may be
   * evicted were gone: then nothing is evicted. Rejects with StoreError.
   */
  async makeRoomFor(size: number | undefined): Promise<boolean> {
    const { limits, fillingBytes, freeSpace } = this.#options;
    const space = await freeSpace();
    const reserve = this.#reserveOf(space);
    const sizes = this.#sizes();
    if (size !== undefined && sizes !== undefined) {
      if (fillingBytes() + sizes.own + sizes.pinned + size > limits().maxSize) return false;
      if (reserve.bytes + size > space.free + sizes.blobs - sizes.pinned) return false;
    }
    const missing = reserve.bytes + (size ?? 0) - space.free;
    if ((size !== undefined && missing > 0) || reserve.files > (space.files?.free ?? reserve.files))
      await this.run(Math.max(0, size === undefined ? 0 : missing));
    return true;
  }

  /**
   * Whether a blob of unknown size may take `bytes` more. It may have what is free; nothing is evicted for it, since it
   * may have no end. Rejects with StoreError.
   */
  async mayGrow(bytes: number): Promise<boolean> {
    const { limits, fillingBytes, freeSpace } = this.#options;
    const { maxSize } = limits();
    const sizes = this.#sizes();
    if (sizes !== undefined && sizes.blobs + sizes.own + fillingBytes() + bytes > maxSize) return false;
    const space = await freeSpace();
    return space.free - bytes >= this.#reserveOf(space).bytes;
  }

  #reserveOf({ total, files }: Space): { readonly bytes: number; readonly files: number } {
    const { keepFree } = this.#options.limits();
    if (files === undefined) return { bytes: total * keepFree, files: 0 };
    return {
      bytes: total * keepFree,
      files: Math.min(files.total / 2, Math.max(fewestFiles, files.total * keepFree)),
    };
  }

  /**
   * One pass, at most one at a time: down to the budget and the free-space reserve, and by at least `wanted` bytes.
   * Resolves when done or when nothing more can be evicted; failures are notices, and a blob that cannot be deleted stays.
   */
  run(wanted = 0): Promise<void> {
    this.#wanted = Math.max(this.#wanted, wanted);
    return this.#passes.run(() =>
      this.#pass()
        .catch((error: unknown) => this.#options.notices(noticeOfStoreError("evict", error)))
        .finally(() => {
          this.#wanted = 0;
        }),
    );
  }

  async #pass(): Promise<void> {
    const { index, limits, freeSpace, fillingBytes, inUse } = this.#options;
    const { maxSize, smallBlob, evictTo } = limits();
    const space = await freeSpace();
    const reserve = this.#reserveOf(space);
    const overDisk = Math.max(0, reserve.bytes - space.free);
    const overFiles = Math.max(0, Math.ceil(reserve.files - (space.files?.free ?? reserve.files)));
    const gone = { bytes: 0, files: 0, failures: 0 };
    let exceeded = false;
    /** Blobs that come while the pass runs count, too: those who store them have been told that one runs. */
    const overBudget = (): number => {
      const used = index.totals().bytes + index.ownBytes() + fillingBytes();
      exceeded ||= used > maxSize;
      const pinned = Math.min(index.pinnedBytes(), maxSize);
      return exceeded ? used - pinned - (maxSize - pinned) * evictTo : 0;
    };
    const first = overBudget();
    const lowDisk = overDisk > first || overFiles > 0 || (first <= 0 && this.#wanted > 0);
    const reason = lowDisk ? "low_disk" : "lru";
    const passedOver = new Set<Digest>();
    const none = new Set<BlobKind>();
    const rooms = { manifest: maxSize * manifestShare, small: roomOfSmallBlobs(maxSize, smallBlob) };
    while (gone.failures < maxFailures) {
      const bytes = Math.max(overBudget(), Math.max(overDisk, this.#wanted) - gone.bytes);
      const files = overFiles - gone.files;
      if (bytes <= 0 && files <= 0) return;
      const next = this.#next(rooms, none);
      if (next === undefined) return;
      const found = index
        .leastWorth(next.kind, batch + passedOver.size)
        .filter(({ digest }) => !passedOver.has(digest));
      if (found.length === 0) none.add(next.kind);
      const chosen: OldBlob[] = [];
      let sum = 0;
      for (const blob of found) {
        if (sum >= next.excess || (sum >= bytes && chosen.length >= files)) break;
        if (inUse(blob.digest)) passedOver.add(blob.digest);
        else {
          chosen.push(blob);
          sum += blob.size;
        }
      }
      await this.#forget(await this.#deleteAll(chosen, passedOver, gone), reason);
    }
  }

  /** Counts those that are gone, and gives them in the order they were in; the others are added to `passedOver`. */
  async #deleteAll(
    chosen: readonly OldBlob[],
    passedOver: Set<Digest>,
    gone: { bytes: number; files: number; failures: number },
  ): Promise<readonly OldBlob[]> {
    const deleted = new Set<OldBlob>();
    await eachAtOnce(chosen, atOnce, async (blob) => {
      if (gone.failures >= maxFailures) return;
      // Since it was chosen, somebody may have opened or pinned it.
      const { inUse, pins } = this.#options;
      if (inUse(blob.digest) || pins?.isHeld(blob.digest) === true) passedOver.add(blob.digest);
      else if (await this.#delete(blob.digest)) {
        deleted.add(blob);
        gone.bytes += blob.size;
        gone.files++;
      } else {
        passedOver.add(blob.digest);
        gone.failures++;
      }
    });
    return chosen.filter((blob) => deleted.has(blob));
  }

  /** Of which kind the next to go is, and how many bytes of it; `none`: those of which nothing more can go. */
  #next(
    rooms: Readonly<Record<"manifest" | "small", number>>,
    none: ReadonlySet<BlobKind>,
  ): { readonly kind: BlobKind; readonly excess: number } | undefined {
    const bytes = this.#options.index.bytesByKind();
    for (const kind of ["manifest", "small"] as const) {
      const excess = bytes[kind] - rooms[kind];
      if (excess > 0 && !none.has(kind)) return { kind, excess };
    }
    const kind = (["large", "small", "manifest"] as const).find((each) => !none.has(each));
    return kind && { kind, excess: Number.POSITIVE_INFINITY };
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
