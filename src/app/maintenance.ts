// What runs beside the requests: the disk reserve, the agreement of index and store, links that have ended, images that tags
// have moved on from, what stored manifests name, copies of the index, the scrubber, overdue uploads, and the watches over
// the cache directory, the upstreams and what nodes share.
import type { Logger } from "pino";
import type { Eviction } from "../cache/eviction.ts";
import { lookInterval, type RefreshAhead } from "../cache/refresh/refresh-ahead.ts";
import type { Scrubber } from "../cache/scrubber.ts";
import type { Health } from "../ops/health.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { inTime } from "../ports/deadline.ts";
import type { NoticeSink } from "../ports/event.ts";
import { staysKeptFor } from "../ports/history/tag-history.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import type { DiskStore } from "../storage/disk/store.ts";
import { reconcile } from "../storage/index/reconcile.ts";
import type { SqliteIndex } from "../storage/index/sqlite-index.ts";
import { readGraph } from "../storage/index/stored-manifests.ts";
import { type Pins, pinExchangeInterval, pinLookInterval } from "./images/pins.ts";
import { StoreWatch, storeWatchInterval } from "./store-watch.ts";
import type { VersionWatch } from "./version-checks.ts";

/** Milliseconds between two checks of the free disk space. */
const diskCheckInterval = 30_000;
/** Milliseconds between two looks for upstreams that nobody has asked for long. */
const versionLookInterval = 10_000;
/** Milliseconds between two questions whether what the nodes share is there. */
const sharedCheckInterval = 60_000;
/** Milliseconds between two copies of the index. */
const indexCopyInterval = 3_600_000;
/** Links checked in one turn, and milliseconds between two turns: a round over a million takes three hours. */
const linksPerSweep = 100;
const linkSweepInterval = 1_000;
/** Milliseconds between two looks at images that tags have moved on from. */
const supersededInterval = 1_000;
/** Milliseconds between two looks for what the history of tags has kept for long enough. */
const historyPruneInterval = 60_000;
/** Milliseconds a stop waits for the last copy of the index. */
const lastCopyTimeout = 5_000;

export interface MaintenanceOptions {
  readonly store: DiskStore;
  readonly index: SqliteIndex;
  readonly health: Pick<Health, "set">;
  /** A copy of the index was made, or none was needed. */
  readonly indexCopied: () => void;
  readonly log: Logger;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
  /** Nothing new begins after it. */
  readonly signal: AbortSignal;
}

export interface MaintenanceParts {
  readonly eviction: Eviction;
  readonly scrubber: Scrubber;
  readonly refreshAhead: Pick<RefreshAhead, "look">;
  /** Left out: upstreams are asked only for clients. */
  readonly versions?: Pick<VersionWatch, "look"> | undefined;
  /** What is pinned is looked at, and heard from other nodes. Neither rejects. */
  readonly pins?: Pick<Pins, "look" | "exchange"> | undefined;
  /** Looks whether what the nodes share answers; never rejects. */
  readonly checkShared: () => Promise<void>;
  /** Uploads what the last run left, once it is known what was purged since; never rejects, and ends after the signal. */
  readonly uploadOverdue: () => Promise<void>;
}

export class Maintenance {
  readonly #options: MaintenanceOptions;
  readonly #storeWatch: StoreWatch;
  #parts: MaintenanceParts | undefined;
  #reconciling = Promise.resolve();
  /** The last copy of the index, which a thread makes; never rejects. */
  #copying: Promise<unknown> = Promise.resolve();

  constructor(options: MaintenanceOptions) {
    this.#options = options;
    const { store, index } = options;
    this.#storeWatch = new StoreWatch({
      ...options,
      probe: () => store.probe(),
      replaced: () => {
        index.requireReconcile();
        this.#reconciling = this.#reconciling.then(() => this.#reconcile());
      },
    });
  }

  /** Begins, until the signal. */
  start(parts: MaintenanceParts): void {
    const { indexCopied, signal } = this.#options;
    this.#parts = parts;
    const { eviction, scrubber, refreshAhead, uploadOverdue, versions, checkShared, pins } = parts;
    this.#every(lookInterval, () => refreshAhead.look());
    this.#every(diskCheckInterval, () => this.#keepSpace(eviction));
    void this.#keepSpace(eviction);
    this.#every(linkSweepInterval, () => this.#sweepLinks());
    this.#every(supersededInterval, () => this.#sweepSuperseded());
    this.#every(historyPruneInterval, () => this.#pruneHistory());
    this.#every(storeWatchInterval, () => this.checkStore());
    this.#every(versionLookInterval, () => versions?.look());
    void versions?.look();
    this.#every(sharedCheckInterval, () => checkShared());
    this.#every(pinLookInterval, () => pins?.look());
    this.#every(pinExchangeInterval, () => pins?.exchange());
    this.#reconciling = this.#reconcile().then(async () => {
      // Before much of what the last run left changes.
      void this.#copyIndex("thread");
      if (!signal.aborted) scrubber.start();
      // What is held was held before the start; what was found missing meanwhile is fetched.
      if (!signal.aborted) void pins?.look().then(() => pins.exchange());
      await Promise.all([this.#readGraph(), uploadOverdue()]);
    });
    this.#every(indexCopyInterval, async () => {
      if (await this.#copyIndex("thread")) indexCopied();
    });
  }

  /** Looks at once whether the cache directory can be used. */
  checkStore(): Promise<void> {
    return this.#storeWatch.check();
  }

  /** Waits for what was under way at the signal, and makes the last copy of the index. */
  async end(): Promise<void> {
    if (this.#parts === undefined) return;
    await this.#reconciling;
    await this.#parts.scrubber.stop();
    await this.#lastCopy();
  }

  #every(interval: number, work: () => unknown): void {
    const timer = setInterval(work, interval).unref();
    this.#options.signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  async #keepSpace(eviction: Eviction): Promise<void> {
    const { store, log, notices } = this.#options;
    try {
      const files = await store.sweep();
      if (files > 0) log.warn({ files }, "removed files of no fill from the spool");
    } catch (error) {
      notices(noticeOfStoreError("sweep", error));
    }
    await eviction.run();
  }

  #sweepLinks(): void {
    const { index, notices } = this.#options;
    try {
      index.sweepLinks(linksPerSweep);
    } catch (error) {
      notices(noticeOfStoreError("links.sweep", error));
    }
  }

  #pruneHistory(): void {
    const { index, notices, clock } = this.#options;
    try {
      if (index.pause === undefined) index.history.prune(clock() - staysKeptFor);
    } catch (error) {
      notices(noticeOfStoreError("history.prune", error));
    }
  }

  #sweepSuperseded(): void {
    const { index, notices } = this.#options;
    try {
      if (index.pause === undefined) index.superseded.sweep();
    } catch (error) {
      notices(noticeOfStoreError("superseded.sweep", error));
    }
  }

  async #reconcile(): Promise<void> {
    const { store, index, clock, signal, log } = this.#options;
    try {
      const counts = await reconcile({ store, index, clock, signal });
      if (counts !== undefined) log.info(counts, "made the index agree with the store");
    } catch (error) {
      if (!signal.aborted) log.error({ err: error }, "the index could not be repaired");
    }
  }

  async #readGraph(): Promise<void> {
    const { store, index, signal, log, notices } = this.#options;
    try {
      const manifests = await readGraph({ store, index, signal });
      if (manifests) log.info({ manifests }, "read what the stored manifests name");
    } catch (error) {
      if (!signal.aborted) notices(noticeOfStoreError("graph.read", error));
    }
  }

  /** False when it failed. */
  async #copyIndex(where: "thread" | "here"): Promise<boolean> {
    const { index, notices } = this.#options;
    try {
      if (!index.changed) return true;
      const copy = index.copy(where);
      this.#copying = copy.catch(() => {});
      await copy;
      return true;
    } catch (error) {
      notices(noticeOfStoreError("index.copy", error));
      return false;
    }
  }

  /**
   * Keeps what was learned since the copy before, should the file of the index break. A thread that still makes that one writes
   * in the directory until it is done.
   */
  async #lastCopy(): Promise<void> {
    await inTime(Promise.all([this.#copying, this.#copyIndex("here")]), lastCopyTimeout, this.#options.pause);
  }
}
