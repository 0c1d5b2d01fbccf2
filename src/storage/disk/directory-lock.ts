// One process per cache directory. Node has no flock; SQLite takes its file locks with fcntl, which the kernel
// drops when the process dies, however it dies, and which other containers on the same volume see.
import { DatabaseSync } from "node:sqlite";
import { StoreError } from "../../ports/blobs.ts";
import { sqliteCode, sqliteCodes, storeFailure } from "../store-failure.ts";

export interface DirectoryLock {
  /** Idempotent. */
  release(): void;
}

/**
 * Locks `file`, creating it (empty; nothing is ever written) when missing. StoreError `unavailable` at once when
 * another process, or another lock of this one, has it. Nothing else may open and close the file meanwhile:
 * closing any descriptor of it drops the lock.
 */
export function lockDirectory(directory: string, file: string): DirectoryLock {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file);
    // In memory, for a transaction that never writes needs no journal file.
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    throw sqliteCode(error) === sqliteCodes.busy
      ? directoryInUse(directory, error)
      : storeFailure(error, `lock the cache directory ${directory}`);
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
