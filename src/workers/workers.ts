// The workers of this node, as its primary sees them: processes that serve the port of the clients, and answer with what
// the primary grants them. One that dies is replaced at once, one whose event loop stands still is ended first. None of
// them writes to the cache directory, or knows another secret than the key of the listener's certificate, so nothing has to
// be put right after a worker has died.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Digest } from "../oci/digest.ts";
import type { Blocked } from "../ports/block/blocked.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { inTime } from "../ports/deadline.ts";
import type { Bound } from "../ports/listening.ts";
import { type EventReceiver, readEvents } from "./events.ts";
import type { ForkedWorker, WorkerEnd } from "./forked-worker.ts";
import { type Forget, forgetKey } from "./grants.ts";
import { LentPlaces } from "./lent-places.ts";
import type { ToPrimary, ToWorker, WorkerSettings } from "./messages.ts";

/** Milliseconds between two looks at the workers, in each of which they should have given a sign of life. */
const watchInterval = 1_000;
/**
 * Milliseconds without a sign of life after which a worker is ended. Sooner than that it ends itself (loop-watch.ts), unless
 * all of the process stands still.
 */
const longestSilence = 13_000;
/** The same after its start: on a machine that is busy the program takes its time to load. */
const longestStart = 60_000;
/** Milliseconds in which a worker has to acknowledge news; then it is ended. */
const acknowledgeTimeout = 5_000;
/** Milliseconds after its start in which the death of a worker makes the next start wait, at first and at most. */
const soon = 5_000;
const firstPause = 100;
const longestPause = 5_000;
/** Bytes of a socket's path: some systems allow 104. */
const longestPath = 103;
/** Digests in one message. */
const digestsAtOnce = 1_000;
/** Repositories that are told one by one; of more at the same time everything is forgotten. */
const maxForgets = 1_000;

export interface WorkersOptions {
  readonly count: number;
  /** Starts a process. Throws the system's error. */
  readonly fork: () => ForkedWorker;
  readonly settings: WorkerSettings;
  /** Gets the events of requests that workers have answered. */
  readonly events: EventReceiver;
  readonly readiness: () => 200 | 404 | 503;
  /** The disk could not give a worker a part of the stored blob. */
  readonly unreadable: (digest: Digest) => void;
  /** So many spans of a worker will never be sent, and why; left out: workers trace nothing. */
  readonly spansLost?: ((spans: number, reason: string) => void) | undefined;
  readonly log: {
    debug(context: object, message: string): void;
    error(context: object, message: string): void;
  };
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
}

/** One worker that runs. */
class RunningWorker {
  readonly forked: ForkedWorker;
  readonly startedAt: number;
  /** When it gives a sign of life at the latest. */
  due: number;
  inFlight = 0;
  drained = false;
  /** Clients that are being sent each stored blob. */
  readonly reading = new Map<Digest, number>();
  readonly #waiting = new Map<number, () => void>();
  #questions = 0;

  constructor(forked: ForkedWorker, now: number) {
    this.forked = forked;
    this.startedAt = now;
    this.due = now + longestStart;
  }

  /** Resolves when the worker has acknowledged it, or has ended. */
  async forget(forgets: readonly Forget[]): Promise<void> {
    const number = ++this.#questions;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.set(number, resolve);
    this.forked.tell({ kind: "forget", number, forgets });
    await Promise.race([promise, this.forked.ended]);
    this.#waiting.delete(number);
  }

  acknowledged(number: number): void {
    this.#waiting.get(number)?.();
  }
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #running = new Set<RunningWorker>();
  readonly #stopping = new AbortController();
  readonly #started = Promise.withResolvers<Bound>();
  #forgets = new Map<string, Forget>();
  #forgetting: Promise<void> | undefined;
  #drained: (() => void) | undefined;
  #pauses = 0;
  #settings: WorkerSettings;
  readonly #places: LentPlaces<RunningWorker>;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#settings = options.settings;
    const { openAnswers, workers } = options.settings;
    this.#places = new LentPlaces(openAnswers, workers, ({ forked }, network, places) =>
      forked.tell({ kind: "lent", network, places }),
    );
  }

  /** Starts all of them. Resolves when one listens; rejects with the system's error when the port cannot be had. */
  async start(): Promise<Bound> {
    this.#watch().catch(() => {});
    for (let i = 0; i < this.#options.count; i++) this.#fork();
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
        await running.forked.ended;
      }),
    );
  }

  /** For the workers that run, and those that replace them. What was granted under other settings is forgotten. */
  use(settings: WorkerSettings): void {
    this.#settings = settings;
    this.#places.bound(settings.openAnswers, settings.workers);
    this.#tellAll({ kind: "settings", settings });
    void this.forget({});
  }

  /** What is stored under the digest is something else: clients get no more of it. */
  wrong(digest: Digest): void {
    this.#tellAll({ kind: "wrong", digest });
  }

  /** The stored blobs that workers are sending to clients. */
  get beingSent(): ReadonlySet<Digest> {
    const digests = new Set<Digest>();
    for (const { reading } of this.#running) for (const digest of reading.keys()) digests.add(digest);
    return digests;
  }

  /** Resolves when no worker gives out any of these digests, nor answers from what it was granted before. Never rejects. */
  async block(digests: readonly (readonly [Digest, Blocked])[]): Promise<void> {
    for (let at = 0; at < digests.length; at += digestsAtOnce)
      this.#tellAll({ kind: "blocked", digests: digests.slice(at, at + digestsAtOnce) });
    await this.forget({});
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
    this.#started.reject(new Error("this node is stopping"));
    this.#started.promise.catch(() => {});
    for (const running of this.#running) running.forked.kill();
    await Promise.all([...this.#running].map(({ forked }) => forked.ended));
  }

  #tellAll(message: ToWorker): void {
    for (const running of this.#running) running.forked.tell(message);
  }

  #fork(): void {
    const { clock, fork, events, readiness, log } = this.#options;
    const running = new RunningWorker(fork(), clock());
    const { forked } = running;
    const { pid } = forked;
    this.#running.add(running);
    readEvents(forked.events, events);
    forked.onMessage((message) => this.#heard(running, message));
    void forked.report.then((report) => {
      if (report !== "")
        log.error({ pid, stack: report.trimEnd() }, "a worker is ended: its event loop stands still");
    });
    void forked.ended.then((end) => this.#ended(running, end));
    forked.tell({ kind: "start", settings: this.#settings });
    forked.tell({ kind: "readiness", status: readiness() });
    log.debug({ pid }, "a worker was started");
  }

  #ended(running: RunningWorker, end: WorkerEnd): void {
    this.#running.delete(running);
    this.#places.gone(running);
    this.#checkDrained();
    if (this.#stopping.signal.aborted || running.drained) return;
    const { pid } = running.forked;
    this.#options.log.error({ pid, ...end }, "a worker has ended; another one takes its place");
    void this.#replace(running);
  }

  async #replace({ startedAt }: RunningWorker): Promise<void> {
    const { clock, log, count } = this.#options;
    if (clock() - startedAt >= soon) this.#pauses = 0;
    else await this.#pauseBeforeStart();
    // No more than at a start that goes wrong from the beginning.
    if (this.#pauses > 2 * count) this.#started.reject(new Error("workers end before they listen"));
    while (!this.#stopping.signal.aborted && this.#drained === undefined) {
      try {
        this.#fork();
        return;
      } catch (error) {
        log.error({ err: error }, "a worker cannot be started; it is tried again");
        await this.#pauseBeforeStart();
      }
    }
  }

  /** Longer from time to time. */
  async #pauseBeforeStart(): Promise<void> {
    const wait = Math.min(firstPause * 2 ** this.#pauses++, longestPause);
    await this.#options.pause(wait, this.#stopping.signal).catch(() => {});
  }

  #heard(running: RunningWorker, message: ToPrimary): void {
    const { log, clock } = this.#options;
    running.due = clock() + longestSilence;
    switch (message.kind) {
      case "listening":
        log.debug({ pid: running.forked.pid }, "a worker listens");
        this.#started.resolve(message.bound);
        return;
      case "failed": {
        const error = Object.assign(new Error(message.message), { ...message.error });
        this.#started.reject(error);
        log.error({ err: error, pid: running.forked.pid }, "a worker cannot start");
        running.forked.kill();
        return;
      }
      case "done":
        running.acknowledged(message.number);
        return;
      case "unreadable":
        this.#options.unreadable(message.digest);
        return;
      case "short":
        this.#places.ask(running, message.network);
        return;
      case "returned":
        this.#places.giveBack(running, message.network, message.places);
        return;
      case "alive":
        running.inFlight = message.inFlight;
        return;
      case "reading":
        countReading(running.reading, message.digest, message.change);
        return;
      case "spans_lost":
        this.#options.spansLost?.(message.spans, message.reason);
        return;
      case "unexpected": {
        const { message: text, stack } = message;
        log.error({ err: { message: text, stack } }, "a request failed in a way nobody foresaw");
        return;
      }
      case "drained":
        running.drained = true;
        running.forked.kill();
        return;
    }
  }

  #checkDrained(): void {
    if (this.#running.size === 0) this.#drained?.();
  }

  /** Tells readiness every second, and ends workers that have given no sign of life. */
  async #watch(): Promise<void> {
    const { clock, pause, readiness } = this.#options;
    for (let watchedAt = clock(); ; ) {
      await pause(watchInterval, this.#stopping.signal);
      const now = clock();
      // The machine, or this process, stood still: the workers could not be heard.
      const stoodStill = now - watchedAt > 3 * watchInterval;
      watchedAt = now;
      this.#tellAll({ kind: "readiness", status: readiness() });
      for (const running of this.#running) {
        if (stoodStill) running.due = Math.max(running.due, now + longestSilence);
        else if (now > running.due) this.#end(running, "it gives no sign of life");
      }
    }
  }

  /** Tells readiness now, and not only every second. */
  tellReadiness(): void {
    this.#tellAll({ kind: "readiness", status: this.#options.readiness() });
  }

  #end(running: RunningWorker, why: string): void {
    const { log, clock } = this.#options;
    // Until the system has ended it, it is not looked at again.
    running.due = clock() + longestSilence;
    log.error({ pid: running.forked.pid }, `a worker is ended: ${why}`);
    running.forked.kill();
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
