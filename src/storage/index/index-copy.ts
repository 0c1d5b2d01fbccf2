// A copy of the index beside it, in one state of it and checked: what a start goes on with when the index itself
// cannot be read. One copy is kept; it is replaced by a whole one or not at all.
import { renameSync, rmSync, statfsSync } from "node:fs";
import { dirname, extname } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { syncNow } from "../disk/fsync.ts";
import { sqliteCodes, sqliteError } from "../store-failure.ts";

/** Milliseconds a close waits for the thread to let go of the index, which it does between two steps. */
const patience = 10_000;

/** Source and build have different endings; the compiler rewrites them in imports only. */
const program = new URL(`./index-copy-worker${extname(import.meta.url)}`, import.meta.url);

/** Pages between two looks at whether a stop waits. */
const pagesPerStep = 1_000;
/** What `gate` holds: `[0]` is `stop` when the copy is to end, `[1]` is `free` while the thread has the index closed. */
const copyGate = { stop: 1, free: 0, taken: 1 } as const;

export interface CopyWork {
  /** URL of the index, as the program opened it. */
  readonly location: string;
  /** The copy, and where it is put together. */
  readonly target: string;
  readonly part: string;
  readonly gate: Int32Array;
}

/** Why there is no copy, `errcode` as `node:sqlite` has it; undefined: it is done, or was ended by `close`. */
export type CopyAnswer = { readonly message: string; readonly errcode: number | undefined } | undefined;

export class IndexCopy {
  readonly #work: Omit<CopyWork, "gate">;
  readonly #gate = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  #running: Promise<void> | undefined;

  constructor(work: Omit<CopyWork, "gate">) {
    this.#work = work;
  }

  /**
   * One at a time, in a thread, or in this one when nobody else waits for it. Rejects with errors of `node:sqlite`, of
   * the file system, or of threads; then the last copy stays.
   */
  make(where: "thread" | "here"): Promise<void> {
    this.#running ??= this.#make(where).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** A copy under way ends; afterwards no thread has the index open. Idempotent. */
  close(): void {
    Atomics.store(this.#gate, 0, copyGate.stop);
    Atomics.wait(this.#gate, 1, copyGate.taken, patience);
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

/** In the thread that calls it. Undefined also when a stop came between. */
export async function copyHere({ location, target, part, gate }: CopyWork): Promise<CopyAnswer> {
  try {
    rmSync(part, { force: true });
    await copyPages(location, part, gate);
    // What is damaged in the index is so in its copy: a good one is not given up for that.
    check(part);
    syncNow(part);
    renameSync(part, target);
    syncNow(dirname(target));
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
      // A reader has one state of the index for as long as it reads, and no writer waits for it.
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

/** Half of what is free at most: a copy is worth less than what the rest is kept for. */
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
  // Nobody else has it: neither a lock nor a log is made for it.
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
