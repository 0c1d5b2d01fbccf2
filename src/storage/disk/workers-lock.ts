// Worker processes read from the cache directory. Those of a process that was killed end by themselves, some later than
// others; until then they answer as before, so no other process may begin. Locked as the directory is (directory-lock.ts).
import { existsSync } from "node:fs";
import { StoreError } from "../../ports/blobs.ts";
import type { Pause } from "../../ports/clock.ts";
import { sqliteCode, sqliteCodes, storeFailure } from "../store-failure.ts";
import { type DirectoryLock, lockFile } from "./directory-lock.ts";

/** Milliseconds between two tries, and of all of them: longer than a worker lives whose event loop stands still. */
const interval = 50;
const patience = 15_000;

/** One that nobody refers to would be released when memory is collected. */
const held = new Set<DirectoryLock>();

/**
 * One of any number of locks on `file`, which is created when missing and stays empty; released at the end of the process
 * at the latest. Throws StoreError.
 */
export function lockAsWorker(file: string): DirectoryLock {
  try {
    const lock = lockFile(file, "BEGIN; SELECT count(*) FROM sqlite_schema");
    held.add(lock);
    return {
      release() {
        held.delete(lock);
        lock.release();
      },
    };
  } catch (error) {
    throw storeFailure(error, `lock ${file}`);
  }
}

/** Resolves when nobody holds `file` as a worker. Rejects with StoreError `unavailable` when somebody does for 15 seconds. */
export async function awaitWorkers(directory: string, file: string, pause: Pause): Promise<void> {
  const { signal } = new AbortController();
  for (let waited = 0; existsSync(file); waited += interval) {
    try {
      return lockFile(file, "BEGIN EXCLUSIVE").release();
    } catch (error) {
      if (sqliteCode(error) !== sqliteCodes.busy) throw storeFailure(error, `lock ${file}`);
      if (waited >= patience) {
        const why =
          "is in use by workers of a process that has ended: end them or configure another directory";
        throw new StoreError("unavailable", `cache directory ${directory} ${why}`, { cause: error });
      }
    }
    await pause(interval, signal);
  }
}
