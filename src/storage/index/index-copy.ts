// A checked copy of the index beside it, of one moment: a start uses it when the index itself cannot be read. One copy
// is kept, and replaced only by a whole one.
import { renameSync, rmSync, statfsSync } from "node:fs";
import { dirname, extname } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { SharedCall } from "../../ports/single-flight.ts";
import { syncBlocking } from "../disk/fsync.ts";
import { sqliteCodes, sqliteError, type ThreadFailure } from "../store-failure.ts";

/** Milliseconds `close` waits for the thread to close the index, which it does between two steps. */
const closeTimeout = 10_000;

/**
 * The compiler rewrites endings in imports only, so the ending is that of this file: .ts in the source, .js in a build.
 */
const program = new URL(`./index-copy-worker${extname(import.meta.url)}`, import.meta.url);

/** Pages copied between two checks for a stop. */
const pagesPerStep = 1_000;
/** Values of `gate`: `[0]` is `stop` when the copy must end, `[1]` is `free` while the thread has the index closed. */
const copyGate = { stop: 1, free: 0, taken: 1 } as const;

export interface CopyWork {
  /** URL of the index, as the main thread opened it. */
  readonly location: string;
  /** Path of the copy, and of the file it is while it is made. */
  readonly target: string;
  readonly part: string;
  readonly gate: Int32Array;
}

/** Why there is no copy. Undefined: the copy is made, or `close` ended it. */
export type CopyAnswer = ThreadFailure | undefined;

export class IndexCopy {
  readonly #work: Omit<CopyWork, "gate">;
  readonly #gate = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  readonly #copying = new SharedCall<void>();

  constructor(work: Omit<CopyWork, "gate">) {
    this.#work = work;
  }

  /**
   * One at a time, in a thread, or in the calling one when nothing else waits for it. Rejects with errors of
   * `node:sqlite`, of the file system, or of threads; then the last copy stays.
   */
  make(where: "thread" | "here"): Promise<void> {
    return this.#copying.run(() => this.#make(where));
  }

  /** Ends a running copy; afterwards no thread has the index open. Idempotent. */
  close(): void {
    Atomics.store(this.#gate, 0, copyGate.stop);
    Atomics.wait(this.#gate, 1, copyGate.taken, closeTimeout);
  }

  async #make(where: "thread" | "here"): Promise<void> {
    if (Atomics.load(this.#gate, 0) === copyGate.stop) return;
    const work: CopyWork = { ...this.#work, gate: this.#gate };
    const failure = await (where === "here" ? copyHere(work) : inThread(work));
    if (failure !== undefined) throw sqliteError(failure);
  }
}

async function inThread(work: CopyWork): Promise<CopyAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<CopyAnswer>();
  const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };
  const worker = new Worker(program, { workerData: work, resourceLimits, execArgv: [], env: {} });
  worker.on("message", resolve);
  worker.on("error", reject);
  worker.on("exit", (code) => reject(new Error(`the thread that copies the index ended with ${code}`)));
  try {
    return await promise;
  } finally {
    void worker.terminate();
  }
}

class Stopped extends Error {}

/** In the calling thread. Resolves with undefined also when it was stopped. */
export async function copyHere({ location, target, part, gate }: CopyWork): Promise<CopyAnswer> {
  try {
    rmSync(part, { force: true });
    await copyPages(location, part, gate);
    // Damage of the index is in its copy too, which must not replace a good one.
    check(part);
    syncBlocking(part);
    renameSync(part, target);
    syncBlocking(dirname(target));
    return undefined;
  } catch (error) {
    rmSync(part, { force: true });
    if (error instanceof Stopped) return undefined;
    const errcode = error instanceof Error && "errcode" in error ? Number(error.errcode) : undefined;
    return { message: error instanceof Error ? error.message : String(error), errcode };
  }
}

async function copyPages(location: string, part: string, gate: Int32Array): Promise<void> {
  Atomics.store(gate, 1, copyGate.taken);
  try {
    const stopped = (): boolean => Atomics.load(gate, 0) === copyGate.stop;
    if (stopped()) throw new Stopped();
    const index = new DatabaseSync(new URL(location));
    try {
      // A read transaction sees one state of the index for as long as it lasts, and delays no writer.
      index.exec("BEGIN");
      index.prepare("SELECT count(*) FROM sqlite_schema").get();
      requireRoom(index, dirname(part));
      const progress = (): void => {
        if (stopped()) throw new Stopped();
      };
      await backup(index, part, { rate: pagesPerStep, progress });
    } finally {
      index.close();
    }
  } finally {
    Atomics.store(gate, 1, copyGate.free);
    Atomics.notify(gate, 1);
  }
}

/** A copy may take half of the free space at most. */
function requireRoom(index: DatabaseSync, directory: string): void {
  const pages = Number(index.prepare("PRAGMA page_count").get()?.page_count);
  const pageSize = Number(index.prepare("PRAGMA page_size").get()?.page_size);
  const { bavail, bsize } = statfsSync(directory);
  if (pages * pageSize > (bavail * bsize) / 2)
    throw Object.assign(new Error("the disk has no room for a copy"), { errcode: sqliteCodes.full });
}

/** Throws as `node:sqlite` does for a damaged file. */
function check(part: string): void {
  const location = pathToFileURL(part);
  // No other process uses it, so it needs neither a lock nor a log.
  location.searchParams.set("immutable", "1");
  const made = new DatabaseSync(location, { readOnly: true });
  try {
    const found = made.prepare("PRAGMA quick_check(1)").get()?.quick_check;
    if (found !== "ok")
      throw Object.assign(new Error(`the index is damaged: ${found}`), { errcode: sqliteCodes.corrupt });
  } finally {
    made.close();
  }
}
