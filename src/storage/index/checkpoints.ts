// Keeps the write-ahead log of the index short, in a thread: a checkpoint waits for the disk twice, and would block the
// event loop for as long.
import { extname } from "node:path";
import { Worker } from "node:worker_threads";
import { sqliteError, type ThreadFailure } from "../store-failure.ts";

/** Rows changed between two checkpoints. */
const rowsBetween = 500;
/**
 * Pages (of 4 KiB) of a long log. Only a log that is copied to its last page is reused from its beginning, so writes
 * that can wait are paused until the thread has copied the last pages.
 */
const longLog = 8_192;
/** Checkpoints in one pause at most, if other writes come between; then the main thread copies the few pages left. */
const maxPauseTurns = 5;
/** Milliseconds `close` waits for a running checkpoint. If it does not end, the next start reads the log again. */
const closeTimeout = 30_000;

/**
 * The compiler rewrites endings in imports only, so the ending is that of this file: .ts in the source, .js in a build.
 */
const program = new URL(`./checkpoint-worker${extname(import.meta.url)}`, import.meta.url);

/** Values of `gate`. Only the thread sets `working`, only the main thread sets `closed`. */
export const gateStates = { idle: 0, working: 1, closed: 2 } as const;

export interface CheckpointWork {
  /** URL of the database, as the main thread opened it. */
  readonly location: string;
  /** One of `gateStates`; shared. */
  readonly gate: Int32Array;
}

/** The answer to each message: the pages of the log, or why they could not be copied. */
export type CheckpointAnswer = { readonly pages: number } | ThreadFailure;

export interface CheckpointOptions {
  /** URL of the database. */
  readonly location: string;
  /** Copies the rest of the log in this thread. */
  readonly finish: () => void;
  /** A checkpoint failed. The next one comes after as many rows as usual. */
  readonly failed: (error: Error) => void;
  /** The thread has ended for good: the main thread has to keep the log short. */
  readonly lost: (error: Error) => void;
  /** The thread's program; another one only in tests. */
  readonly program?: URL;
}

export class Checkpoints {
  readonly #options: CheckpointOptions;
  readonly #gate = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  #worker: Worker | undefined;
  #rows = 0;
  #running = false;
  #ended = false;
  #pause: PromiseWithResolvers<void> | undefined;
  #turns = 0;

  constructor(options: CheckpointOptions) {
    this.#options = options;
  }

  /** To be called after every change. The thread starts with the first checkpoint, so small indexes have none. */
  wrote(rows: number): void {
    this.#rows += rows;
    if (this.#rows >= rowsBetween && !this.#running && !this.#ended) this.#begin();
  }

  /**
   * Writes that can wait should wait for it, so that all of the log can be copied. Undefined when there is no pause.
   * Never rejects.
   */
  get pause(): Promise<void> | undefined {
    return this.#pause?.promise;
  }

  /** Waits for a running checkpoint, and starts no other. Idempotent. */
  close(): void {
    this.#ended = true;
    this.#endPause();
    const { idle, working, closed } = gateStates;
    while (Atomics.compareExchange(this.#gate, 0, idle, closed) === working)
      if (Atomics.wait(this.#gate, 0, working, closeTimeout) === "timed-out") break;
    void this.#worker?.terminate();
    this.#worker = undefined;
  }

  #begin(): void {
    this.#rows = 0;
    try {
      this.#worker ??= this.#start();
      this.#running = true;
      this.#worker.postMessage(undefined);
    } catch (error) {
      this.#lose(error);
    }
  }

  #start(): Worker {
    const { location, program: own } = this.#options;
    const workerData: CheckpointWork = { location, gate: this.#gate };
    // It needs little memory, and none of the loaders and inspectors the program may have been started with.
    const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };
    const worker = new Worker(own ?? program, { workerData, resourceLimits, execArgv: [], env: {} });
    worker.unref();
    worker.on("message", (answer: CheckpointAnswer) => this.#done(answer));
    worker.on("error", (error) => this.#lose(error));
    worker.on("exit", (code) => this.#lose(new Error(`the checkpoint thread ended with ${code}`)));
    return worker;
  }

  #done(answer: CheckpointAnswer): void {
    if (this.#ended) return;
    this.#running = false;
    if ("message" in answer) {
      this.#endPause();
      this.#options.failed(sqliteError(answer));
    } else if (answer.pages >= longLog && this.#rows > 0) this.#copyRest();
    else {
      this.#endPause();
      this.wrote(0);
    }
  }

  #copyRest(): void {
    if (this.#turns < maxPauseTurns) {
      this.#turns++;
      this.#pause ??= Promise.withResolvers();
      this.#begin();
      return;
    }
    this.#options.finish();
    this.#endPause();
  }

  #endPause(): void {
    this.#turns = 0;
    this.#pause?.resolve();
    this.#pause = undefined;
  }

  #lose(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#endPause();
    this.#worker = undefined;
    this.#options.lost(error instanceof Error ? error : new Error(String(error)));
  }
}
