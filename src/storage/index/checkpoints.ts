// Keeps the index's log short from a thread of its own. A checkpoint waits for the disk twice; on the event
// loop everything would wait with it.
import { extname } from "node:path";
import { Worker } from "node:worker_threads";

/** Rows changed between two checkpoints. */
const rowsBetween = 500;
/**
 * Pages (of 4 KiB) of a log that has become long. Only a log that is copied to its last page is written from its
 * beginning again, so writes that can wait do for as long as the last pages take the thread.
 */
const longLog = 8_192;
/** Checkpoints during such a pause, if other writes came between; then the program copies the few pages left. */
const turnsOfPause = 5;
/** Milliseconds a stop waits for a checkpoint under way. Without its end the log is read again at the next start. */
const patience = 30_000;

/** Source and build have different endings; the compiler rewrites them in imports only. */
const program = new URL(`./checkpoint-worker${extname(import.meta.url)}`, import.meta.url);

/** What `gate` holds. Only the thread makes it `working`, only the program makes it `closed`. */
export const gateStates = { idle: 0, working: 1, closed: 2 } as const;

export interface CheckpointWork {
  /** URL of the database, as the program opened it. */
  readonly location: string;
  /** One of `gateStates`; shared. */
  readonly gate: Int32Array;
}

/** Answer to every message: the log's pages at the time, or why they could not be copied. */
export type CheckpointAnswer =
  | { readonly pages: number }
  | { readonly message: string; readonly errcode: number | undefined };

export interface CheckpointOptions {
  /** URL of the database. */
  readonly location: string;
  /** Copies what is left of the log in this thread. */
  readonly finish: () => void;
  /** A checkpoint failed; another is tried after as many rows. */
  readonly failed: (error: Error) => void;
  /** There is no thread any more, for good: the log is the program's own again. */
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
  #over = false;
  #pause: PromiseWithResolvers<void> | undefined;
  #turns = 0;

  constructor(options: CheckpointOptions) {
    this.#options = options;
  }

  /** To be told of every change. The thread begins with the first checkpoint: small indexes never have one. */
  wrote(rows: number): void {
    this.#rows += rows;
    if (this.#rows >= rowsBetween && !this.#running && !this.#over) this.#begin();
  }

  /** Until when writes that can wait should, for the log to come to its end; undefined nearly always. Never rejects. */
  get pause(): Promise<void> | undefined {
    return this.#pause?.promise;
  }

  /** Waits for a checkpoint under way, and lets no other begin. Idempotent. */
  close(): void {
    this.#over = true;
    this.#endPause();
    const { idle, working, closed } = gateStates;
    while (Atomics.compareExchange(this.#gate, 0, idle, closed) === working)
      if (Atomics.wait(this.#gate, 0, working, patience) === "timed-out") break;
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
    // It needs a few hundred KiB, and none of the loaders and inspectors the program may have been started with.
    const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 };
    const worker = new Worker(own ?? program, { workerData, resourceLimits, execArgv: [], env: {} });
    worker.unref();
    worker.on("message", (answer: CheckpointAnswer) => this.#done(answer));
    worker.on("error", (error) => this.#lose(error));
    worker.on("exit", (code) => this.#lose(new Error(`the checkpoint thread ended with ${code}`)));
    return worker;
  }

  #done(answer: CheckpointAnswer): void {
    if (this.#over) return;
    this.#running = false;
    if ("message" in answer) {
      this.#endPause();
      this.#options.failed(Object.assign(new Error(answer.message), { errcode: answer.errcode }));
    } else if (answer.pages >= longLog && this.#rows > 0) this.#copyRest();
    else {
      this.#endPause();
      this.wrote(0);
    }
  }

  #copyRest(): void {
    if (this.#turns < turnsOfPause) {
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
    if (this.#over) return;
    this.#over = true;
    this.#endPause();
    this.#worker = undefined;
    this.#options.lost(error instanceof Error ? error : new Error(String(error)));
  }
}
