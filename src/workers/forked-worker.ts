// A process that node:cluster starts for a worker, as its primary has it.
import cluster from "node:cluster";
import { extname } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { ToPrimary, ToWorker } from "./messages.ts";

const program = fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url));

/** Descriptors of a worker besides the usual ones and the channel of messages. */
export const descriptors = {
  /** On which it writes its events (events.ts). */
  events: 4,
  /** On which it says where its event loop stood still (loop-watch.ts). */
  report: 5,
} as const;

export interface ForkedWorker {
  readonly pid: number | undefined;
  readonly events: Readable;
  /** Resolves with where its event loop stood still, or with nothing when it ends otherwise. */
  readonly report: Promise<string>;
  /** Resolves with how it ended, once its pipes are read to their ends; also when it could not be started. */
  readonly ended: Promise<WorkerEnd>;
  /** To be called once. */
  onMessage(listener: (message: ToPrimary) => void): void;
  /** A process that is just ending takes nothing more. */
  tell(message: ToWorker): void;
  kill(): void;
}

export type WorkerEnd =
  | { readonly code: number | null; readonly signal: string | null }
  | { readonly err: Error };

/** Starts one. Throws the system's error. */
export function forkWorker(): ForkedWorker {
  // One socket that all accept from: what waits in its queue is no worker's, and survives each of them.
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  cluster.setupPrimary({
    exec: program,
    args: ["worker"],
    execArgv: ["--disable-sigusr1"],
    serialization: "advanced",
    stdio: ["ignore", "inherit", "inherit", "ipc", "pipe", "pipe"],
  });
  const worker = cluster.fork();
  const child = worker.process;
  // There is none when it could not be started.
  const pipe = (descriptor: number): Readable =>
    (child.stdio?.[descriptor] as Readable | null | undefined) ?? Readable.from([]);
  const { promise: ended, resolve } = Promise.withResolvers<WorkerEnd>();
  // A channel that breaks ends the process at its other end. One that could not be started has no process.
  worker.on("error", (err) => {
    if (child.pid === undefined) resolve({ err });
  });
  // Not "exit": by now the last events have been read.
  child.once("close", (code: number | null, signal: string | null) => resolve({ code, signal }));
  return {
    pid: child.pid,
    events: pipe(descriptors.events),
    report: text(pipe(descriptors.report)).catch(() => ""),
    ended,
    onMessage: (listener) => void worker.on("message", listener),
    tell: (message) => void worker.send(message, () => {}),
    kill: () => void child.kill("SIGKILL"),
  };
}
