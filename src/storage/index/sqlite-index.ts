// The embedded index: tag records, links, kept answers and the blob table as four ports over one database.
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { ImageGraph, Proofs } from "../../ports/records.ts";
import { storeFailure } from "../store-failure.ts";
import { SqliteAnswers } from "./answers.ts";
import { SqliteBlobs } from "./blobs.ts";
import { type IndexFile, type IndexLoss, openIndexFile } from "./index-file.ts";
import { SqliteLinks } from "./links.ts";
import { Repositories } from "./repositories.ts";
import { SqliteTags } from "./tags.ts";

export interface IndexOptions {
  /** The cache directory; created when missing. */
  readonly directory: string;
  /** Names a file moved aside, and tells what was used by a clock that was wrong. */
  readonly clock: Clock;
  /** Told of failures that no caller sees: last uses that could not be written, checkpoints that failed. */
  readonly notice?: NoticeSink;
  /** Which links count; `own` when left out. */
  readonly proofs?: Proofs;
}

/**
 * Opens the index without reading its rows. Made for a million blobs: about 300 bytes of disk each with links
 * and children, and 32 MiB of page cache. Every method of the ports throws or rejects with StoreError: `closed`
 * after `close`, `no_space` on a full disk. StoreError `unavailable` here when the directory is another's.
 */
export function openIndex(options: IndexOptions): SqliteIndex {
  const file = openIndexFile(options.directory, options.clock, options.notice);
  try {
    return new SqliteIndex(file, options.clock, options.notice, options.proofs);
  } catch (error) {
    file.close(false);
    throw error;
  }
}

/** Milliseconds after which what was synced has left the caches of any disk. */
const diskCache = 60_000;

export class SqliteIndex {
  readonly tags: SqliteTags;
  readonly links: SqliteLinks;
  readonly answers: SqliteAnswers;
  readonly blobs: SqliteBlobs;
  /** The index could not be read, and is its last copy or a new one. */
  readonly loss: IndexLoss | undefined;
  readonly #file: IndexFile;
  readonly #clock: Clock;
  #needsReconcile: boolean;
  #closed = false;

  constructor(file: IndexFile, clock: Clock, notice: NoticeSink | undefined, proofs: Proofs = "own") {
    const { database } = file;
    const repositories = new Repositories(database);
    this.tags = new SqliteTags(database, repositories);
    this.links = new SqliteLinks(database, repositories, clock, proofs);
    this.answers = new SqliteAnswers(database, repositories);
    this.blobs = new SqliteBlobs(database, repositories, clock, notice);
    this.loss = file.loss;
    this.#file = file;
    this.#needsReconcile = !file.clean;
    this.#clock = clock;
    if (!file.clean) this.#doubt(file.since, notice);
  }

  /** What was stored, or hashed, shortly before a crash may be torn: it is hashed again before anybody gets it. */
  #doubt(since: number, notice: NoticeSink | undefined): void {
    try {
      this.blobs.doubtSince(Math.max(1, since));
    } catch (error) {
      // On a full disk the node starts all the same: the scrubber comes round to them.
      const { code, message } = storeFailure(error, "doubt what a crash may have torn");
      notice?.({ kind: "store_error", op: "index.doubt", code, message });
    }
  }

  /** For DeniedDigests. */
  get graph(): ImageGraph {
    return {
      tagsNaming: (...asked) => this.tags.naming(...asked),
      parentsIn: (...asked) => this.links.parentsIn(...asked),
    };
  }

  /** True until `reconcile` has run, when the last stop was not a clean one: the blob table may be wrong. */
  get needsReconcile(): boolean {
    return this.#needsReconcile;
  }

  /** Something outside has changed the store. */
  requireReconcile(): void {
    this.#needsReconcile = true;
  }

  /** The blob table equals the store again. */
  reconciled(): void {
    this.#needsReconcile = false;
  }

  /**
   * See SqliteLinks.sweep. Nothing while the blob table may be wrong: what it does not name may be here.
   * Throws StoreError.
   */
  sweepLinks(limit: number): void {
    if (!this.#needsReconcile) this.links.sweep(limit);
  }

  /** All of `change` or nothing, in one write. `change` must not wait for anything. */
  transaction(change: () => void): void {
    this.#file.database.transaction(change);
  }

  /** Something was written since the last copy, or there is none. */
  get changed(): boolean {
    return this.#file.database.changed;
  }

  /** See Database.copy. */
  async copy(where: "thread" | "here" = "thread"): Promise<void> {
    const begun = this.#clock();
    await this.#file.database.copy(where);
    // Every blob was synced when it was stored, longer ago than a disk keeps anything to itself.
    this.#file.settled(begun - diskCache);
  }

  /**
   * Writes what is pending, and that the stop was a clean one, unless the blob table is known to be incomplete.
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
      this.#file.close(written && !this.#needsReconcile && this.blobs.complete);
    }
  }
}
