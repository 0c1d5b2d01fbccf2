// Errors of the file system and of SQLite as StoreErrors with their closed codes.
import { constants } from "node:os";
import { StoreError, type StoreErrorCode } from "../ports/blobs.ts";

/** libuv has no name for EDQUOT, so Node gives only the number. */
const noSpace = new Set([constants.errno.ENOSPC, constants.errno.EDQUOT]);

/** The directory cannot be used now, or the process has no free descriptors; the disk itself did not fail. */
const unavailable = new Set(["EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EMFILE", "ENFILE", "EBUSY"]);

/** Primary result codes, sqlite3.h: https://www.sqlite.org/rescode.html */
export const sqliteCodes = { busy: 5, corrupt: 11, full: 13, cantOpen: 14, notADb: 26 };

/** `action` completes "cannot …", as in "write the spool". A StoreError is returned unchanged. */
export function storeFailure(error: unknown, action: string): StoreError {
  if (error instanceof StoreError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new StoreError(failureCode(error), `cannot ${action}: ${reason}`, { cause: error });
}

/** The primary SQLite result code of an error of `node:sqlite`; undefined for any other error. */
export function sqliteCode(error: unknown): number | undefined {
  const code = error instanceof Error && "errcode" in error ? error.errcode : undefined;
  return typeof code === "number" ? code & 0xff : undefined;
}

/** The database file is damaged, as a whole or in some page. */
export function isDamage(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === sqliteCodes.corrupt || code === sqliteCodes.notADb;
}

/** An error on its way from one thread to another; `errcode` as `node:sqlite` has it. */
export interface ThreadFailure {
  readonly message: string;
  readonly errcode: number | undefined;
}

/** The error of `node:sqlite` that came from another thread. */
export function sqliteError({ message, errcode }: ThreadFailure): Error {
  return Object.assign(new Error(message), errcode === undefined ? {} : { errcode });
}

/** The `code` of a Node system error, such as "ENOENT". */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}

function failureCode(error: unknown): StoreErrorCode {
  const sqlite = sqliteCode(error);
  if (sqlite !== undefined) {
    if (sqlite === sqliteCodes.full) return "no_space";
    return sqlite === sqliteCodes.busy || sqlite === sqliteCodes.cantOpen ? "unavailable" : "io";
  }
  const code = systemCode(error);
  // node:sqlite throws it for a closed database or statement.
  if (code === "ERR_INVALID_STATE") return "closed";
  if (error instanceof Error && "errno" in error && noSpace.has(-Number(error.errno))) return "no_space";
  return code !== undefined && unavailable.has(code) ? "unavailable" : "io";
}
