// One process per cache directory. Node has no flock, so SQLite locks a file, by fcntl: the kernel releases such a lock
// however the process dies, and other containers on the same volume see it.
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "../../ports/blobs.ts";
import { sqliteCode, sqliteCodes, storeFailure } from "../store-failure.ts";

export interface DirectoryLock {
  /** Idempotent. */
  release(): void;
}

/**
 * Locks `file`, which is created when missing and stays empty. Throws StoreError `unavailable` at once when another
 * process, or another lock of this one, has it. Nothing else may open and close the file meanwhile: closing any
 * descriptor of it releases the lock.
 */
export function lockDirectory(directory: string, file: string): DirectoryLock {
  try {
    // The transaction never writes, so its journal can be in memory.
    return lockFile(file, "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    throw sqliteCode(error) === sqliteCodes.busy
      ? directoryInUse(directory, error)
      : storeFailure(error, `lock the cache directory ${directory}`);
  }
}

/** Holds the lock on `file` that the SQL takes. Throws SQLite's error. */
export function lockFile(file: string, sql: string): DirectoryLock {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    database.exec(sql);
  } catch (error) {
    database?.close();
    throw error;
  }
  return {
    release() {
      database?.close();
      database = undefined;
    },
  };
}

export function directoryInUse(directory: string, cause: unknown): StoreError {
  return new StoreError(
    "unavailable",
    `cache directory ${directory} is in use by another process: stop that one or configure another directory`,
    { cause },
  );
}
