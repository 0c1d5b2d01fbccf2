// The index's SQLite connection, in a process that has the file for itself, with failures as StoreError.
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
 * Page cache in KiB. The rest is the kernel's: a lookup in a million rows costs microseconds from there.
 * The log is checkpointed by a thread (checkpoints.ts) and cut back to `journal_size_limit` bytes.
 */
const pragmas = `
PRAGMA cache_size = -32768;
PRAGMA synchronous = NORMAL;
PRAGMA journal_size_limit = 67108864;
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 0;
`;
/** SQLite's default: checkpoints on the event loop, where there is no thread for them. */
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
  #toldOfDamage = false;

  /**
   * Throws errors of `node:sqlite`, and those of schema.ts. The caller holds the directory's lock. `notice` is told of
   * checkpoints that fail; `thread` is their program, another one only in tests.
   */
  constructor(layout: Layout, notice: NoticeSink | undefined, thread?: URL) {
    this.#layout = layout;
    this.#notice = notice;
    const location = exclusively(layout.index);
    this.#db = new DatabaseSync(location);
    this.#checkpoints = new Checkpoints({
      location: location.href,
      finish: () => this.#finishCheckpoint(),
      failed: (error) => this.#tell(this.failure(error)),
      lost: (error) => this.#keepOwnLog(error),
      ...(thread === undefined ? {} : { program: thread }),
    });
    this.#copy = new IndexCopy({
      location: location.href,
      target: layout.indexCopy,
      part: layout.indexCopyPart,
    });
    try {
      // First: a file that is not ours, or not to be read, stays as it is.
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

  /** Everything `change` does, or nothing. Within another transaction it is a part of that one. */
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

  /** To be told of every row changed, so that the log stays short. */
  wrote(rows: number): void {
    this.#checkpoints.wrote(rows);
    this.#uncopied += rows;
  }

  /** Something was written since the last copy, or there is none. */
  get changed(): boolean {
    return this.#uncopied > 0 || !existsSync(this.#layout.indexCopy);
  }

  /**
   * In a thread, or `here` when the event loop has nothing else to do: replaces the copy that a later start goes on
   * with when it cannot read this file. Rejects with StoreError; then the last copy stays. Damage that it finds is
   * remembered for the next start.
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

  /** Writes that can wait should until it ends (checkpoints.ts). */
  get pause(): Promise<void> | undefined {
    return this.#checkpoints.pause;
  }

  /** Idempotent; closed also when it throws. SQLite itself would close over a failing last write in silence. */
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

  /** Remembers, for the next start, a file that turns out to be damaged deeper than opening it shows. */
  failure(error: unknown): StoreError {
    const failure = storeFailure(error, "use the index");
    if (isDamage(error)) this.#damaged(failure);
    return failure;
  }

  #finishCheckpoint(): void {
    try {
      this.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch (error) {
      this.#tell(storeFailure(error, "checkpoint the index"));
    }
  }

  #keepOwnLog(error: Error): void {
    this.#tell(storeFailure(error, "checkpoint the index in a thread"));
    this.#db.exec(ownCheckpoints);
  }

  #damaged({ code, message }: StoreError): void {
    markDamaged(this.#layout);
    if (this.#toldOfDamage) return;
    this.#toldOfDamage = true;
    this.#notice?.({ kind: "store_error", op: "index.damaged", code, message });
  }

  #tell({ code, message }: StoreError): void {
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
    try {
      const changes = Number(this.#statement.run(...values).changes);
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

/** A digest as columns hold it: the raw bytes, half the size of the hex. */
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
 * By SQLite's `unix-excl`: no other process can open the file, and the log's index is in memory that the threads of
 * this one share, not in a file of its own, which could not be made on a full disk (https://sqlite.org/vfs.html).
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
    // The failure being reported matters more; the next use of the damaged page tries again.
  }
}
