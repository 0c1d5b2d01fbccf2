// Uploads verified blobs to the store all nodes share, while no client waits for it. What cannot be uploaded now is tried
// again later; until then other nodes read it from this one, or from upstream. After a start, what the node stored
// shortly before it ended is offered again: a node killed between a fill and its upload would otherwise be the only one
// that ever has the blob.
import type { Digest } from "../../oci/digest.ts";
import { type BlobStore, StoreError } from "../../ports/blobs.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { BlobIndex } from "../../ports/records.ts";
import type { SharedBlobs } from "../../ports/shared.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import type { CheckResult } from "../blob-checks.ts";

/** Uploads at once. */
const workers = 4;
/** Blobs that wait; a new one beyond them replaces the oldest, which a notice reports. */
const longestQueue = 10_000;
/** Milliseconds before the next try after a failure; twice as long each time, up to the second figure. */
const firstPause = 2_000;
const longestPause = 60_000;
/**
 * Milliseconds since it was stored in which a blob is uploaded again after a start. Older ones have been uploaded, or
 * were deleted from the shared store to keep it small.
 */
const recent = 24 * 3600_000;

export interface PublisherOptions {
  readonly shared: SharedBlobs;
  readonly local: Pick<BlobStore, "open">;
  /** Hashes the local blob and takes it out of the store when it is wrong; resolves with what it is. */
  readonly check: (digest: Digest) => Promise<CheckResult>;
  readonly notices: NoticeSink;
  readonly pause: Pause;
}

interface Upload {
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string | undefined;
  /** To be called after the first try. */
  readonly tried: () => void;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #stopping = new AbortController();
  readonly #waiting = new Map<Digest, Upload>();
  readonly #underWay = new Map<Digest, { readonly ends: AbortController; readonly over: Promise<unknown> }>();
  readonly #workers = new Set<Promise<void>>();
  /** Workers that will take another blob when one waits. */
  #active = 0;
  #failures = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Blobs that wait to be uploaded. */
  get pending(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves when the blob has been uploaded, or one try has failed; more may follow. While the shared store fails it
   * resolves at once. Never rejects.
   */
  publish(digest: Digest, size: number, mediaType: string | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#stopping.signal.aborted) return Promise.resolve();
    if (this.#failures > 0) resolve();
    if (this.#waiting.size >= longestQueue) this.#forgetOldest();
    this.#waiting.get(digest)?.tried();
    this.#waiting.set(digest, { digest, size, mediaType, tried: resolve });
    if (this.#active < workers) this.#startWorker();
    return promise;
  }

  /** The blobs are not to be uploaded any more; resolves when none of them is. */
  async forget(digests: Iterable<Digest>): Promise<void> {
    const ending: Promise<unknown>[] = [];
    for (const digest of digests) {
      this.#waiting.get(digest)?.tried();
      this.#waiting.delete(digest);
      const uploading = this.#underWay.get(digest);
      uploading?.ends.abort(new Error("the blob was purged"));
      if (uploading !== undefined) ending.push(uploading.over);
    }
    await Promise.all(ending);
  }

  /** Ends uploads under way; resolves when they are gone. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error("this node is stopping"));
    for (const { tried } of this.#waiting.values()) tried();
    this.#waiting.clear();
    await Promise.all(this.#workers);
  }

  #startWorker(): void {
    this.#active++;
    const worker = this.#work().finally(() => this.#workers.delete(worker));
    this.#workers.add(worker);
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping;
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const ends = new AbortController();
      const over = this.#upload(next, AbortSignal.any([signal, ends.signal]));
      const uploading = { ends, over };
      this.#underWay.set(next.digest, uploading);
      // What is not wanted any more needs no other try.
      const uploaded = (await over) || ends.signal.aborted;
      if (this.#underWay.get(next.digest) === uploading) this.#underWay.delete(next.digest);
      next.tried();
      this.#failures = uploaded ? 0 : this.#failures + 1;
      if (uploaded || signal.aborted) continue;
      if (!this.#waiting.has(next.digest)) this.#waiting.set(next.digest, { ...next, tried: () => {} });
      const wait = Math.min(firstPause * 2 ** (this.#failures - 1), longestPause);
      await this.#options.pause(wait, signal).catch(() => {});
    }
    // At once, not when the promise settles: a blob published in between would find no worker.
    this.#active--;
  }

  #take(): Upload | undefined {
    for (const [digest, upload] of this.#waiting) {
      this.#waiting.delete(digest);
      return upload;
    }
    return undefined;
  }

  /** False when another try is worth it. For a blob evicted meanwhile it is not. */
  async #upload({ digest, size, mediaType }: Upload, signal: AbortSignal): Promise<boolean> {
    const { local, shared, check, notices } = this.#options;
    let blob: Awaited<ReturnType<BlobStore["open"]>>;
    try {
      blob = await local.open(digest);
    } catch (error) {
      notices(noticeOfStoreError("open", error));
      return true;
    }
    if (blob === undefined) return true;
    if (blob.size !== size) {
      await blob.close();
      await check(digest);
      return true;
    }
    try {
      await shared.put(digest, size, mediaType, blob, signal);
      return true;
    } catch (error) {
      // Uploads hash what they read. A bit that flipped on the way from the disk is worth another try, a wrong file is not.
      if (error instanceof StoreError && (error.code === "corrupt" || error.code === "size_mismatch"))
        return (await check(digest)) === "wrong";
      // The shared store sends notices of its failures itself.
      return false;
    } finally {
      await blob.close();
    }
  }

  #forgetOldest(): void {
    const oldest = this.#take();
    oldest?.tried();
    const error = new StoreError("unavailable", `${oldest?.digest} will not be uploaded: too many wait`);
    this.#options.notices(noticeOfStoreError("publish", error));
  }
}

export interface UnpublishedOptions {
  readonly local: Pick<BlobStore, "list">;
  readonly index: Pick<BlobIndex, "get">;
  readonly shared: Pick<SharedBlobs, "head">;
  readonly publisher: Pick<Publisher, "publish">;
  readonly clock: Clock;
  /** Ends it early. */
  readonly signal: AbortSignal;
}

/**
 * Uploads the blobs of the last day that the shared store does not have, one at a time.
 * While the shared store fails they wait in the publisher. Rejects with StoreError when the local store cannot be listed.
 */
export async function publishUnpublished(options: UnpublishedOptions): Promise<void> {
  const { local, index, shared, publisher, clock, signal } = options;
  const since = clock() - recent;
  for await (const { digest, size, modifiedAt } of local.list()) {
    if (signal.aborted) break;
    if (modifiedAt < since) continue;
    const found = await shared.head(digest).catch(() => undefined);
    if (found !== undefined || signal.aborted) continue;
    await publisher.publish(digest, size, index.get(digest)?.mediaType);
  }
}
