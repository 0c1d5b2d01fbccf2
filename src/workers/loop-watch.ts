// Ends a process whose event loop stands still, and says where it stood. Nothing on that event loop could: a thread of its
// own looks whether the loop still turns (loop-watch-thread.ts).
import { extname } from "node:path";
import { Worker } from "node:worker_threads";

const thread = new URL(`./loop-watch-thread${extname(import.meta.url)}`, import.meta.url);

/** Looks in a row that find nothing new, after which the loop stands still. */
const longestSilence = 10;

/** MB of heap and stack the thread may have: it does next to nothing. */
const resourceLimits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 };

export interface LoopWatchOptions {
  /** Milliseconds between two looks. Default: 1000. */
  readonly interval?: number;
  /** Descriptor that the report is written to, once: the stack, or nothing but a line end if none could be had. */
  readonly report: number;
}

/** What the thread is started with. */
export interface WatchedLoop {
  readonly interval: number;
  readonly report: number;
  /** One number, which the event loop raises between any two looks. */
  readonly turns: Int32Array;
}

/**
 * From now on this process is killed once its event loop has not turned for ten looks in a row. The thread does not keep the
 * process.
 */
export function watchLoop({ interval = 1_000, report }: LoopWatchOptions): void {
  const turns = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  setInterval(() => Atomics.add(turns, 0, 1), interval / 2).unref();
  const watched: WatchedLoop = { interval, report, turns };
  new Worker(thread, { workerData: watched, resourceLimits, env: {}, execArgv: [] }).unref();
}

/** How long a loop has been silent, counted in looks and not in time: nobody looks while the machine is suspended. */
export class Silence {
  #last = -1;
  #looks = 0;

  /** `turns`: a number that changes while the loop turns. True when it stands still. */
  look(turns: number): boolean {
    this.#looks = turns === this.#last ? this.#looks + 1 : 0;
    this.#last = turns;
    return this.#looks >= longestSilence;
  }
}
