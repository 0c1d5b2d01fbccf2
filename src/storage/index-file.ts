// The index's file from start to stop: locked, moved aside when it cannot be read, marked when closed in good order.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { type Clock, StoreError } from "../cache/ports.ts";
import type { NoticeSink } from "../telemetry/event.ts";
import { setCleanMark, takeCleanMark } from "./clean-mark.ts";
import { Database } from "./database.ts";
import { type DirectoryLock, directoryInUse, lockDirectory } from "./directory-lock.ts";
import { Layout } from "./layout.ts";
import { NewerSchema, UnknownSchema } from "./schema.ts";
import { isDamage, sqliteCode, sqliteCodes, storeFailure } from "./store-failure.ts";

/**
 * Throws StoreError `unavailable` when another process has the index, and when a later version wrote it; nothing is
 * moved aside for either.
 */
export function openIndexFile(directory: string, clock: Clock, notice?: NoticeSink): IndexFile {
  const layout = new Layout(directory);
  let lock: DirectoryLock | undefined;
  let database: Database | undefined;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Not SQLite's own lock: a file is moved aside only by the process that has the directory.
    lock = lockDirectory(directory, layout.indexLock);
    database = existsSync(layout.damaged) ? undefined : openUsable(layout, notice);
    const rebuilt = database === undefined;
    if (rebuilt) moveAside(layout, clock);
    database ??= new Database(layout, notice);
    const clean = takeCleanMark(layout) && !database.isNew;
    return new IndexFile(layout, lock, database, rebuilt, clean);
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

export class IndexFile {
  readonly database: Database;
  /** An unreadable file was moved aside. */
  readonly rebuilt: boolean;
  /** Closed in good order by its last user: the tables may be trusted. */
  readonly clean: boolean;
  readonly #layout: Layout;
  readonly #lock: DirectoryLock;

  constructor(layout: Layout, lock: DirectoryLock, database: Database, rebuilt: boolean, clean: boolean) {
    this.#layout = layout;
    this.#lock = lock;
    this.database = database;
    this.rebuilt = rebuilt;
    this.clean = clean;
  }

  /** `complete`: the next opening may trust the tables. Once only; closed also when it throws StoreError. */
  close(complete: boolean): void {
    try {
      this.database.close();
      if (complete) setCleanMark(this.#layout);
    } catch (error) {
      throw storeFailure(error, "close the index");
    } finally {
      this.#lock.release();
    }
  }
}

/** Undefined when the file is there but cannot be read as an index. */
function openUsable(layout: Layout, notice: NoticeSink | undefined): Database | undefined {
  try {
    return new Database(layout, notice);
  } catch (error) {
    if (error instanceof UnknownSchema || isDamage(error)) return undefined;
    throw error;
  }
}

/** Keeps the newest unreadable file for inspection. */
function moveAside(layout: Layout, clock: Clock): void {
  for (const name of readdirSync(layout.directory))
    if (name.startsWith(`${basename(layout.index)}.corrupt-`)) rmSync(layout.beside(name));
  const aside = `${layout.index}.corrupt-${clock()}`;
  renameIfThere(layout.index, aside);
  // A log left here would be played into the new file.
  renameIfThere(`${layout.index}-wal`, `${aside}-wal`);
  rmSync(layout.damaged, { force: true });
}

function renameIfThere(from: string, to: string): void {
  if (existsSync(from)) renameSync(from, to);
}
