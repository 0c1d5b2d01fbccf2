// The SQLite connection of the index, in a process that has the file for itself. Failures are StoreErrors.
import { closeSync, existsSync, openSync } from "node:fs";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { type Digest, digestHex, makeDigest } from "../../oci/digest.ts";
import type { StoreError } from "../../ports/blobs.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { Layout } from "../disk/layout.ts";
import { isDamage, storeFailure } from "../store-failure.ts";
import { Checkpoints } from "./checkpoints.ts";
import { IndexCopy } from "./index-copy.ts";
import { migrate, schemaVersion } from "./schema.ts";

/** A row of `node:sqlite`, by column name. */
export type Row = Readonly<Record<string, unknown>>;

/**
 * The page cache is in KiB; the kernel caches the rest of the file. A thread checkpoints the log (checkpoints.ts),
 * which is cut back to `journal_size_limit` bytes.
 */
const pragmas = `
PRAGMA cache_size = -32768;
PRAGMA synchronous = NORMAL;
PRAGMA journal_size_limit = 67108864;
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 0;
`;
/** SQLite's default, checkpoints on the event loop, for when their thread has ended. */
const ownCheckpoints = "PRAGMA wal_autocheckpoint = 1000";

export class Database {
  /** There was no file, or an empty one. */
  readonly isNew: boolean;
  readonly #db: DatabaseSync;
  readonly #layout: Layout;
  readonly #notice: NoticeSink | undefined;
  readonly #checkpoints: Checkpoints;
  readonly #copy: IndexCopy;
  /** Rows changed since the last copy was begun. */
  #uncopied = 0;
  #damageNotified = false;

  /**
   * Throws errors of `node:sqlite`, and those of schema.ts. The caller holds the directory's lock. `notice` gets failed
   * checkpoints; `thread` is the program of their thread, another one only in tests.
   */
  constructor(layout: Layout, notice: NoticeSink | undefined, thread?: URL) {
    this.#layout = layout;
    this.#notice = notice;
    const location = exclusively(layout.index);
    this.#db = new DatabaseSync(location);
    this.#checkpoints = new Checkpoints({
      location: location.href,
      finish: () => this.#finishCheckpoint(),
      failed: (error) => this.#notify(this.failure(error)),
      lost: (error) => this.#keepOwnLog(error),
      ...(thread === undefined ? {} : { program: thread }),
    });
    this.#copy = new IndexCopy({
      location: location.href,
      target: layout.indexCopy,
      part: layout.indexCopyPart,
    });
    try {
      // Before anything is written: a file of another program, or one that cannot be read, stays as it is.
      const version = schemaVersion(this.#db);
      this.isNew = version === 0;
      this.#db.exec(pragmas);
      migrate(this.#db, version);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  prepare(sql: string): Statement {
    try {
      return new Statement(this.#db.prepare(sql), this);
    } catch (error) {
      throw this.failure(error);
    }
  }

  exec(sql: string): void {
    try {
      this.#db.exec(sql);
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** All of `change` or nothing. Within another transaction it is part of that one. */
  transaction<Result>(change: () => Result): Result {
    if (this.#db.isOpen && this.#db.isTransaction) return change();
    this.exec("BEGIN IMMEDIATE");
    try {
      const result = change();
      this.exec("COMMIT");
      return result;
    } catch (error) {
      // SQLite has rolled back by itself after some failures.
      if (this.#db.isOpen && this.#db.isTransaction) this.exec("ROLLBACK");
      throw error;
    }
  }

  /** To be called with the number of rows changed, so that the log stays short. */
  wrote(rows: number): void {
    this.#checkpoints.wrote(rows);
    this.#uncopied += rows;
  }

  /** Something was written since the last copy, or there is none. */
  get changed(): boolean {
    return this.#uncopied > 0 || !existsSync(this.#layout.indexCopy);
  }

  /**
   * Replaces the copy that a later start uses when it cannot read this file. `here` copies in the calling thread, for
   * when nothing else runs. Rejects with StoreError; then the last copy stays. Damage that it finds is marked for the
   * next start.
   */
  async copy(where: "thread" | "here" = "thread"): Promise<void> {
    const uncopied = this.#uncopied;
    this.#uncopied = 0;
    try {
      await this.#copy.make(where);
    } catch (error) {
      this.#uncopied += uncopied;
      const failure = storeFailure(error, "copy the index");
      if (isDamage(error)) this.#damaged(failure);
      throw failure;
    }
  }

  /** Writes that can wait should wait for it (checkpoints.ts). */
  get pause(): Promise<void> | undefined {
    return this.#checkpoints.pause;
  }

  /** Idempotent; closed also when it throws. Checkpoints first, because SQLite does not report a failing last write. */
  close(): void {
    if (!this.#db.isOpen) return;
    this.#copy.close();
    this.#checkpoints.close();
    try {
      this.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } finally {
      this.#db.close();
    }
  }

  /** The StoreError of an error of SQLite. Damage that opening the file did not show is marked for the next start. */
  failure(error: unknown): StoreError {
    const failure = storeFailure(error, "use the index");
    if (isDamage(error)) this.#damaged(failure);
    return failure;
  }

  #finishCheckpoint(): void {
    try {
      this.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch (error) {
      this.#notify(storeFailure(error, "checkpoint the index"));
    }
  }

  #keepOwnLog(error: Error): void {
    this.#notify(storeFailure(error, "checkpoint the index in a thread"));
    this.#db.exec(ownCheckpoints);
  }

  #damaged({ code, message }: StoreError): void {
    markDamaged(this.#layout);
    if (this.#damageNotified) return;
    this.#damageNotified = true;
    this.#notice?.({ kind: "store_error", op: "index.damaged", code, message });
  }

  #notify({ code, message }: StoreError): void {
    this.#notice?.({ kind: "store_error", op: "index.checkpoint", code, message });
  }
}

/** A prepared statement whose failures are StoreErrors. */
export class Statement {
  readonly #statement: StatementSync;
  readonly #database: Database;

  constructor(statement: StatementSync, database: Database) {
    this.#statement = statement;
    this.#database = database;
  }

  /** Rows changed. */
  run(...values: SQLInputValue[]): number {
    return this.#changes(() => this.#statement.run(...values));
  }

  /** As `run`, with the values of `$name`. */
  runNamed(values: Readonly<Record<string, SQLInputValue>>): number {
    return this.#changes(() => this.#statement.run(values));
  }

  #changes(run: () => { readonly changes: number | bigint }): number {
    try {
      const changes = Number(run().changes);
      this.#database.wrote(changes);
      return changes;
    } catch (error) {
      throw this.#database.failure(error);
    }
  }

  get(...values: SQLInputValue[]): Row | undefined {
    try {
      return this.#statement.get(...values);
    } catch (error) {
      throw this.#database.failure(error);
    }
  }

  all(...values: SQLInputValue[]): readonly Row[] {
    try {
      return this.#statement.all(...values);
    } catch (error) {
      throw this.#database.failure(error);
    }
  }
}

/** Bytes of a digest column that holds a sha256; a longer one holds a sha512. */
const sha256Length = 32;

/** A digest as columns hold it: its bytes, half the size of the hex. */
export function digestKey(digest: Digest): Buffer {
  return Buffer.from(digestHex(digest), "hex");
}

/** `bytes`: a column that holds what `digestKey` gave. Throws RangeError for anything else. */
export function digestOfKey(bytes: unknown): Digest {
  if (!(bytes instanceof Uint8Array)) throw new RangeError("not a digest column");
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
  return makeDigest(bytes.byteLength === sha256Length ? "sha256" : "sha512", hex);
}

/**
 * With SQLite's `unix-excl`: no other process can open the file, and the index of the log is in memory that the threads
 * of this one share, not in a file, which could not be made on a full disk (https://sqlite.org/vfs.html).
 */
function exclusively(path: string): URL {
  const location = pathToFileURL(path);
  location.searchParams.set("vfs", "unix-excl");
  return location;
}

function markDamaged(layout: Layout): void {
  try {
    closeSync(openSync(layout.damaged, "a", 0o600));
  } catch {
    // The failure that is reported matters more. The next use of the damaged page marks it again.
  }
}
