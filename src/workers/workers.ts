// The workers of this node, as its primary sees them: processes that serve the port of the clients, and answer with what
// the primary grants them. One that dies is replaced at once, one whose event loop stands still is ended first. None of
// them writes to the cache directory or knows a secret, so nothing has to be put right after a worker has died.
import cluster, { type Worker } from "node:cluster";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Digest } from "../oci/digest.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { inTime } from "../ports/deadline.ts";
import { type EventReceiver, readEvents } from "./events.ts";
import { type Forget, forgetKey } from "./grants.ts";
import type { ToPrimary, ToWorker, WorkerSettings } from "./messages.ts";

const program = fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url));

/** The descriptor of a worker on which it writes its events. */
export const eventsDescriptor = 4;

/** Milliseconds between two looks at the workers, in each of which they should have given a sign of life. */
const watchInterval = 1_000;
/** Milliseconds without a sign of life after which a worker is ended. */
const longestSilence = 10_000;
/** Milliseconds in which a worker has to acknowledge news; then it is ended. */
const acknowledgeTimeout = 5_000;
/** Milliseconds after its start in which the death of a worker makes the next start wait, at first and at most. */
const soon = 5_000;
const firstPause = 100;
const longestPause = 5_000;
/** Bytes of a socket's path: some systems allow 104. */
const longestPath = 103;
/** Repositories that are told one by one; of more at the same time everything is forgotten. */
const maxForgets = 1_000;

export interface WorkersOptions {
  readonly count: number;
  readonly settings: WorkerSettings;
  /** Gets the events of requests that workers have answered. */
  readonly events: EventReceiver;
  readonly readiness: () => 200 | 404 | 503;
  /** The disk could not give a worker a part of the stored blob. */
  readonly unreadable: (digest: Digest) => void;
  readonly log: {
    debug(context: object, message: string): void;
    error(context: object, message: string): void;
  };
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
}

/** One worker process. */
class WorkerProcess {
  readonly worker: Worker;
  readonly startedAt: number;
  aliveAt: number;
  inFlight = 0;
  drained = false;
  /** Clients that are being sent each stored blob. */
  readonly reading = new Map<Digest, number>();
  /** Resolves when the process has ended. */
  readonly ended = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, () => void>();
  #questions = 0;

  constructor(worker: Worker, now: number) {
    this.worker = worker;
    this.startedAt = now;
    this.aliveAt = now;
  }

  tell(message: ToWorker): void {
    // A process that is just ending takes nothing more; its end is seen elsewhere.
    this.worker.send(message, () => {});
  }

  /** Resolves when the worker has acknowledged it, or has ended. */
  async forget(forgets: readonly Forget[]): Promise<void> {
    const number = ++this.#questions;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.set(number, resolve);
    this.tell({ kind: "forget", number, forgets });
    await Promise.race([promise, this.ended.promise]);
    this.#waiting.delete(number);
  }

  acknowledged(number: number): void {
    this.#waiting.get(number)?.();
  }

  kill(): void {
    this.worker.process.kill("SIGKILL");
  }
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #running = new Set<WorkerProcess>();
  readonly #stopping = new AbortController();
  readonly #started = Promise.withResolvers<{ readonly host: string; readonly port: number }>();
  #forgets = new Map<string, Forget>();
  #forgetting: Promise<void> | undefined;
  #watch: NodeJS.Timeout | undefined;
  #watchedAt = 0;
  #drained: (() => void) | undefined;
  #pauses = 0;
  #settings: WorkerSettings;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#settings = options.settings;
  }

  /** Starts all of them. Resolves when one listens; rejects with the system's error when the port cannot be had. */
  async start(): Promise<{ readonly host: string; readonly port: number }> {
    const { count, clock } = this.#options;
    // One socket that all accept from: what waits in its queue is no worker's, and survives each of them.
    cluster.schedulingPolicy = cluster.SCHED_NONE;
    cluster.setupPrimary({
      exec: program,
      args: ["worker"],
      execArgv: ["--disable-sigusr1"],
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc", "pipe"],
    });
    this.#watchedAt = clock();
    this.#watch = setInterval(() => this.#look(), watchInterval);
    for (let i = 0; i < count; i++) this.#fork();
    return await this.#started.promise;
  }

  /** Answers under way, as the workers said within the last second. */
  get inFlight(): number {
    let sum = 0;
    for (const { inFlight } of this.#running) sum += inFlight;
    return sum;
  }

  /** Whether a worker is sending the stored blob to a client. */
  isReading(digest: Digest): boolean {
    for (const { reading } of this.#running) if (reading.has(digest)) return true;
    return false;
  }

  /** Resolves when no worker answers from what is forgotten any more. Never rejects. */
  forget(forget: Forget): Promise<void> {
    if (this.#forgets.size < maxForgets) this.#forgets.set(forgetKey(forget), forget);
    else this.#forgets = new Map([[forgetKey({}), {}]]);
    // What changes in one turn of the event loop is told together.
    this.#forgetting ??= new Promise((resolve) => setImmediate(resolve)).then(() => this.#tellForgets());
    return this.#forgetting;
  }

  async #tellForgets(): Promise<void> {
    const forgets = [...this.#forgets.values()];
    this.#forgets.clear();
    this.#forgetting = undefined;
    const { pause } = this.#options;
    await Promise.all(
      [...this.#running].map(async (running) => {
        if (await inTime(running.forget(forgets), acknowledgeTimeout, pause)) return;
        this.#end(running, "it does not acknowledge news");
        await running.ended.promise;
      }),
    );
  }

  /** For the workers that run, and those that replace them. What was granted under other settings is forgotten. */
  use(settings: WorkerSettings): void {
    this.#settings = settings;
    this.#tellAll({ kind: "settings", settings });
    void this.forget({});
  }

  /** What is stored under the digest is something else: clients get no more of it. */
  wrong(digest: Digest): void {
    this.#tellAll({ kind: "wrong", digest });
  }

  /** Resolves when every answer under way has ended. No bound. */
  async drain(): Promise<void> {
    const drained = Promise.withResolvers<void>();
    this.#drained = drained.resolve;
    this.#tellAll({ kind: "drain" });
    this.#checkDrained();
    await drained.promise;
  }

  /** Ends them. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    clearInterval(this.#watch);
    this.#started.reject(new Error("this node is stopping"));
    this.#started.promise.catch(() => {});
    for (const running of this.#running) running.kill();
    await Promise.all([...this.#running].map(({ ended }) => ended.promise));
  }

  #tellAll(message: ToWorker): void {
    for (const running of this.#running) running.tell(message);
  }

  #fork(): void {
    const { clock, events, readiness, log } = this.#options;
    const running = new WorkerProcess(cluster.fork(), clock());
    const { worker } = running;
    this.#running.add(running);
    const pipe = worker.process.stdio?.[eventsDescriptor] as Readable | null | undefined;
    if (pipe) readEvents(pipe, events);
    worker.on("message", (message: ToPrimary) => this.#heard(running, message));
    // A channel that breaks ends the process at its other end. One that could not be started has no process.
    worker.on("error", (error) => {
      if (worker.process.pid === undefined) this.#ended(running, { err: error });
    });
    // Not "exit": by now the last events have been read.
    worker.process.once("close", (code: number | null, signal: string | null) =>
      this.#ended(running, { pid: worker.process.pid, code, signal }),
    );
    running.tell({ kind: "start", settings: this.#settings });
    running.tell({ kind: "readiness", status: readiness() });
    log.debug({ pid: worker.process.pid }, "a worker was started");
  }

  #ended(running: WorkerProcess, how: object): void {
    if (!this.#running.delete(running)) return;
    running.ended.resolve();
    this.#checkDrained();
    if (this.#stopping.signal.aborted || running.drained) return;
    this.#options.log.error(how, "a worker has ended; another one takes its place");
    void this.#replace(running);
  }

  async #replace(ended: WorkerProcess): Promise<void> {
    const { clock, pause, log, count } = this.#options;
    if (clock() - ended.startedAt >= soon) this.#pauses = 0;
    else {
      const wait = Math.min(firstPause * 2 ** this.#pauses++, longestPause);
      await pause(wait, this.#stopping.signal).catch(() => {});
    }
    // No more than at a start that goes wrong from the beginning.
    if (this.#pauses > 2 * count) this.#started.reject(new Error("workers end before they listen"));
    if (this.#stopping.signal.aborted || this.#drained !== undefined) return;
    try {
      this.#fork();
    } catch (error) {
      log.error({ err: error }, "a worker cannot be started; it is tried again");
      void this.#replace(ended);
    }
  }

  #heard(running: WorkerProcess, message: ToPrimary): void {
    const { log, clock } = this.#options;
    running.aliveAt = clock();
    switch (message.kind) {
      case "listening":
        this.#started.resolve({ host: message.host, port: message.port });
        return;
      case "failed": {
        const error = Object.assign(new Error(message.message), { ...message.error });
        this.#started.reject(error);
        log.error({ err: error, pid: running.worker.process.pid }, "a worker cannot listen");
        running.kill();
        return;
      }
      case "done":
        running.acknowledged(message.number);
        return;
      case "unreadable":
        this.#options.unreadable(message.digest);
        return;
      case "alive":
        running.inFlight = message.inFlight;
        return;
      case "reading":
        countReading(running.reading, message.digest, message.change);
        return;
      case "unexpected": {
        const { message: text, stack } = message;
        log.error({ err: { message: text, stack } }, "a request failed in a way nobody foresaw");
        return;
      }
      case "drained":
        running.drained = true;
        running.kill();
        return;
    }
  }

  #checkDrained(): void {
    if (this.#running.size === 0) this.#drained?.();
  }

  /** Tells readiness, and ends workers that have given no sign of life. */
  #look(): void {
    const { clock, readiness } = this.#options;
    const now = clock();
    // The machine, or this process, stood still: the workers could not be heard.
    const stoodStill = now - this.#watchedAt > 3 * watchInterval;
    this.#watchedAt = now;
    this.#tellAll({ kind: "readiness", status: readiness() });
    for (const running of this.#running) {
      if (stoodStill) running.aliveAt = now;
      else if (now - running.aliveAt > longestSilence) this.#end(running, "its event loop stands still");
    }
  }

  /** Tells readiness now, and not only every second. */
  tellReadiness(): void {
    this.#tellAll({ kind: "readiness", status: this.#options.readiness() });
  }

  #end(running: WorkerProcess, why: string): void {
    const { log, clock } = this.#options;
    // Until the system has ended it, it is not looked at again.
    running.aliveAt = clock() + longestSilence;
    log.error({ pid: running.worker.process.pid }, `a worker is ended: ${why}`);
    running.kill();
  }
}

function countReading(reading: Map<Digest, number>, digest: Digest, change: 1 | -1): void {
  const count = (reading.get(digest) ?? 0) + change;
  if (count > 0) reading.set(digest, count);
  else reading.delete(digest);
}

/**
 * Where the primary answers workers: in the directory, which the caller has for itself, or in one of its own among the
 * temporary files when the path would be longer than a unix socket's may be (108 bytes on Linux, unix(7)).
 */
export function socketPathIn(directory: string): string {
  const inside = join(directory, "workers.sock");
  if (Buffer.byteLength(inside) <= longestPath) return inside;
  return join(mkdtempSync(join(tmpdir(), "entrepot-")), "workers.sock");
}
