// The file of the index from start to stop: it is locked, replaced when it cannot be read, and marked when its last use
// ended cleanly. The mark is a file that has one name between a clean stop and the next start, and another while the
// index is used. It is not a row, because renaming a file needs no space, and a node has to start on a full disk.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { basename } from "node:path";
import { StoreError } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { type DirectoryLock, directoryInUse, lockDirectory } from "../disk/directory-lock.ts";
import { syncBlocking } from "../disk/fsync.ts";
import { digestAlgorithms, Layout } from "../disk/layout.ts";
import { isDamage, sqliteCode, sqliteCodes, storeFailure } from "../store-failure.ts";
import { Database } from "./database.ts";
import { NewerSchema, UnknownSchema } from "./schema.ts";

/** What became of an index that could not be read. The file is kept beside the new one. */
export interface IndexLoss {
  /** For people. */
  readonly reason: string;
  /** When the copy that replaces it was made, in milliseconds since the epoch; undefined when there was no copy. */
  readonly copiedAt: number | undefined;
}

/**
 * Opens the index, or moves one that cannot be read aside, sends a notice, and takes its copy or a new file. Throws
 * StoreError `unavailable` when another process uses the index, and when a later version wrote it; then nothing is
 * moved.
 */
export function openIndexFile(directory: string, clock: Clock, notice?: NoticeSink): IndexFile {
  const layout = new Layout(directory);
  let lock: DirectoryLock | undefined;
  let database: Database | undefined;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Besides SQLite's own lock, because only the process that has the directory may move a file aside.
    lock = lockDirectory(directory, layout.indexLock);
    const unusable = missing(layout) ?? openUsable(layout, notice);
    const [opened, loss] =
      unusable instanceof Database ? [unusable] : replace(layout, unusable, clock, notice);
    database = opened;
    const mark = takeCleanMark(layout, clock());
    const clean = mark.clean && !database.isNew && loss === undefined;
    if (loss !== undefined) notice?.({ kind: "index_lost", ...loss });
    return new IndexFile({ layout, lock, database, loss, clean, since: mark.since, clock });
  } catch (error) {
    database?.close();
    lock?.release();
    if (sqliteCode(error) === sqliteCodes.busy) throw directoryInUse(directory, error);
    if (error instanceof NewerSchema) {
      const remedy =
        "start that one, or move the file away: then tags are asked for anew, and layers are kept";
      throw new StoreError("unavailable", `cannot use ${layout.index}: ${error.message}; ${remedy}`, {
        cause: error,
      });
    }
    throw storeFailure(error, `open the index in the cache directory ${directory}`);
  }
}

interface IndexFileOptions {
  readonly layout: Layout;
  readonly lock: DirectoryLock;
  readonly database: Database;
  readonly loss: IndexLoss | undefined;
  readonly clean: boolean;
  readonly since: number;
  readonly clock: Clock;
}

export class IndexFile {
  readonly database: Database;
  /** Set when the file could not be read. */
  readonly loss: IndexLoss | undefined;
  /** The last stop was clean: the tables may be trusted. */
  readonly clean: boolean;
  /** No crash has torn what is older, in milliseconds since the epoch; 0 when that is not known. */
  readonly since: number;
  readonly #layout: Layout;
  readonly #lock: DirectoryLock;
  readonly #clock: Clock;

  constructor({ layout, lock, database, loss, clean, since, clock }: IndexFileOptions) {
    this.#layout = layout;
    this.#lock = lock;
    this.database = database;
    this.loss = loss;
    this.clean = clean;
    this.since = since;
    this.#clock = clock;
  }

  /** Everything older than `at`, in milliseconds since the epoch, has reached the disk. */
  markSynced(at: number): void {
    touchUsedMark(this.#layout, at);
  }

  /** `clean`: the next start may trust the tables. To be called once; closed also when it throws StoreError. */
  close({ clean }: { readonly clean: boolean }): void {
    try {
      this.database.close();
      if (clean) setCleanMark(this.#layout, this.#clock());
    } catch (error) {
      throw storeFailure(error, "close the index");
    } finally {
      this.#lock.release();
    }
  }
}

/** Why an index that was here cannot be opened; undefined when it can, or when there was none. */
function missing(layout: Layout): string | undefined {
  if (existsSync(layout.damaged)) return "it turned out to be damaged while it was used";
  if (sizeOf(layout.index) > 0 || sizeOf(`${layout.index}-wal`) > 0) return undefined;
  return existsSync(layout.indexCopy) || existsSync(layout.cleanMark) || hasBlobs(layout)
    ? "it is missing or empty"
    : undefined;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** The first blob of a shard makes its directory. */
function hasBlobs(layout: Layout): boolean {
  return digestAlgorithms.some((algorithm) => {
    const path = layout.algorithm(algorithm);
    return existsSync(path) && readdirSync(path).length > 0;
  });
}

/** The reason when the file is no index that can be read. */
function openUsable(layout: Layout, notice: NoticeSink | undefined): Database | string {
  try {
    return new Database(layout, notice);
  } catch (error) {
    if (error instanceof UnknownSchema || isDamage(error)) return (error as Error).message;
    throw error;
  }
}

/** The copy is renamed, not copied: that needs no space, and a bad copy is not tried twice. */
function replace(
  layout: Layout,
  reason: string,
  clock: Clock,
  notice: NoticeSink | undefined,
): [Database, IndexLoss] {
  moveAside(layout, clock);
  const copiedAt = statSync(layout.indexCopy, { throwIfNoEntry: false })?.mtimeMs;
  if (copiedAt !== undefined) {
    renameSync(layout.indexCopy, layout.index);
    const opened = openCopy(layout, notice);
    if (opened instanceof Database) return [opened, { reason, copiedAt: Math.trunc(copiedAt) }];
    rmSync(layout.index);
    return [
      new Database(layout, notice),
      { reason: `${reason}; nor its copy: ${opened}`, copiedAt: undefined },
    ];
  }
  return [new Database(layout, notice), { reason, copiedAt: undefined }];
}

function openCopy(layout: Layout, notice: NoticeSink | undefined): Database | string {
  try {
    return openUsable(layout, notice);
  } catch (error) {
    if (error instanceof NewerSchema) return error.message;
    throw error;
  }
}

/** Keeps the newest unreadable file for inspection. */
function moveAside(layout: Layout, clock: Clock): void {
  for (const name of readdirSync(layout.directory))
    if (name.startsWith(`${basename(layout.index)}.corrupt-`)) rmSync(layout.beside(name));
  const aside = `${layout.index}.corrupt-${clock()}`;
  renameIfThere(layout.index, aside);
  // SQLite would apply a log that stays here to the new file.
  renameIfThere(`${layout.index}-wal`, `${aside}-wal`);
  rmSync(layout.damaged, { force: true });
}

function renameIfThere(from: string, to: string): void {
  if (existsSync(from)) renameSync(from, to);
}

interface CleanMark {
  /** The last stop was clean. */
  readonly clean: boolean;
  /** See IndexFile.since. */
  readonly since: number;
}

/** Afterwards the index counts as being used, also after a power failure. `now` in milliseconds since the epoch. */
function takeCleanMark(layout: Layout, now: number): CleanMark {
  const clean = existsSync(layout.cleanMark);
  if (clean) {
    renameSync(layout.cleanMark, layout.usedMark);
    syncBlocking(layout.directory);
  }
  const since = statSync(layout.usedMark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (since === 0) touchUsedMark(layout, now);
  return { clean, since };
}

/** Everything older than `now` is on the disk, while the index is still used. On a full disk there may be no mark. */
function touchUsedMark(layout: Layout, now: number): void {
  try {
    closeSync(openSync(layout.usedMark, "a", 0o600));
    utimesSync(layout.usedMark, now / 1000, now / 1000);
  } catch {
    // An older time is correct too: more blobs are hashed again after a crash.
  }
}

/** To be called when everything else is on the disk. */
function setCleanMark(layout: Layout, now: number): void {
  closeSync(openSync(layout.cleanMark, "w", 0o600));
  utimesSync(layout.cleanMark, now / 1000, now / 1000);
  rmSync(layout.usedMark, { force: true });
}
