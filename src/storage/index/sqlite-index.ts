// The index: tag records, links, kept answers, the blob table, the image graph, the ledger of savings, pins, purges, blocks and the
// history of tags, ten ports over one SQLite database.
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { Proofs } from "../../ports/records.ts";
import { storeFailure } from "../store-failure.ts";
import { SqliteAnswers } from "./answers.ts";
import { SqliteBlobs } from "./blobs.ts";
import { SqliteBlocks } from "./blocks.ts";
import { SqliteImageGraph } from "./image-graph.ts";
import { type IndexFile, type IndexLoss, openIndexFile } from "./index-file.ts";
import { SqliteLinks } from "./links.ts";
import { SqlitePins } from "./pins.ts";
import { SqlitePurges } from "./purges.ts";
import { Repositories } from "./repositories.ts";
import { SqliteSavings } from "./savings.ts";
import { SqliteSuperseded } from "./superseded.ts";
import { SqliteTagHistory } from "./tag-history.ts";
import { SqliteTags } from "./tags.ts";

export interface IndexOptions {
  /** The cache directory; created when missing. */
  readonly directory: string;
  /** Wall clock. Names files moved aside, and shows which times in the index come from a wrong clock. */
  readonly clock: Clock;
  /** Gets failures that no caller sees: last uses that could not be written, failed checkpoints. */
  readonly notice?: NoticeSink;
  /** Which links count; `own` when left out. */
  readonly proofs?: (upstream: string) => Proofs;
  /** The size, in bytes, below which eviction takes a blob for a small one; 1 MB when left out. */
  readonly smallBlob?: number;
}

/**
 * Opens the index without reading its rows. Made for a million blobs, with a page cache of 32 MiB. Every method of the
 * ports throws or rejects with StoreError: `closed` after `close`, `no_space` on a full disk. Throws StoreError
 * `unavailable` when another process uses the directory.
 */
export function openIndex(options: IndexOptions): SqliteIndex {
  const file = openIndexFile(options.directory, options.clock, options.notice);
  try {
    return new SqliteIndex(file, options);
  } catch (error) {
    file.close({ clean: false });
    throw error;
  }
}

/** Milliseconds after which synced bytes have left the cache of any disk. */
const diskCache = 60_000;

export class SqliteIndex {
  readonly tags: SqliteTags;
  readonly links: SqliteLinks;
  readonly answers: SqliteAnswers;
  readonly blobs: SqliteBlobs;
  readonly graph: SqliteImageGraph;
  readonly savings: SqliteSavings;
  readonly pins: SqlitePins;
  readonly superseded: SqliteSuperseded;
  readonly purges: SqlitePurges;
  readonly history: SqliteTagHistory;
  readonly blocks: SqliteBlocks;
  /** The index could not be read, and is its last copy or a new one. */
  readonly loss: IndexLoss | undefined;
  readonly #file: IndexFile;
  readonly #clock: Clock;
  #needsReconcile: boolean;
  #closed = false;

  constructor(file: IndexFile, { clock, notice, proofs = () => "own", smallBlob = 1_000_000 }: IndexOptions) {
    const { database } = file;
    const repositories = new Repositories(database);
    this.tags = new SqliteTags(database, repositories);
    this.links = new SqliteLinks(database, repositories, clock, proofs);
    this.answers = new SqliteAnswers(database, repositories);
    this.superseded = new SqliteSuperseded(database);
    this.blobs = new SqliteBlobs(database, repositories, clock, notice, smallBlob, this.superseded);
    this.graph = new SqliteImageGraph(database, this.blobs);
    this.savings = new SqliteSavings(database);
    this.pins = new SqlitePins(database);
    this.purges = new SqlitePurges(database);
    this.history = new SqliteTagHistory(database, repositories);
    this.blocks = new SqliteBlocks(database);
    this.loss = file.loss;
    this.#file = file;
    this.#needsReconcile = !file.clean;
    this.#clock = clock;
    if (!file.clean) this.#forgetRecentChecks(file.since, notice);
  }

  /** A crash may have torn what was stored or hashed shortly before it: it is hashed again before it is served. */
  #forgetRecentChecks(since: number, notice: NoticeSink | undefined): void {
    try {
      this.blobs.forgetChecksSince(Math.max(1, since));
    } catch (error) {
      // On a full disk the node starts nevertheless: the scrubber checks all blobs in time.
      const { code, message } = storeFailure(error, "doubt what a crash may have torn");
      notice?.({ kind: "store_error", op: "index.doubt", code, message });
    }
  }

  /** The blob table may be wrong: true after a stop that was not clean, until `reconcile` has run. */
  get needsReconcile(): boolean {
    return this.#needsReconcile;
  }

  /** To be called when the store was changed from outside. */
  requireReconcile(): void {
    this.#needsReconcile = true;
  }

  /** To be called when the blob table equals the store again. */
  reconciled(): void {
    this.#needsReconcile = false;
  }

  /**
   * See SqliteLinks.sweep. Does nothing while the blob table may be wrong, because blobs that are here may have no row.
   * Throws StoreError.
   */
  sweepLinks(limit: number): void {
    if (!this.#needsReconcile) this.links.sweep(limit);
  }

  /** All of `change` or nothing, in one write. `change` must not wait for anything. */
  transaction(change: () => void): void {
    this.#file.database.transaction(change);
  }

  /** See Database.pause. */
  get pause(): Promise<void> | undefined {
    return this.#file.database.pause;
  }

  /** Something was written since the last copy, or there is none. */
  get changed(): boolean {
    return this.#file.database.changed;
  }

  /** See Database.copy. */
  async copy(where: "thread" | "here" = "thread"): Promise<void> {
    const begun = this.#clock();
    await this.#file.database.copy(where);
    // Every blob was synced when it was stored, and has left the cache of the disk since then.
    this.#file.markSynced(begun - diskCache);
  }

  /**
   * Writes what is pending, and marks the stop as clean unless the blob table is known to differ from the store.
   * Idempotent; the files are closed also when it throws.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    let written = false;
    try {
      this.blobs.flush();
      written = true;
    } finally {
      this.#file.close({ clean: written && !this.#needsReconcile && this.blobs.complete });
    }
  }
}
