// Hashes everything stored again within an interval, slowly, beginning with what was not checked for longest. A disk may
// change bits without an error, and a layer that was not pulled for months is wanted when the registry is away.
import type { Digest } from "../oci/digest.ts";
import { type Clock, type Pause, recordAge } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import type { BlobChecks } from "./blob-checks.ts";

const mebibyte = 1024 * 1024;
/** Bytes per second: never more, however short the interval. */
const fastest = 64 * mebibyte;
/** Bytes per second at least while the node is idle, and while it is busy, so that a round ends before it has to. */
const idleRate = 8 * mebibyte;
const busyRate = mebibyte / 4;
/** Milliseconds between two searches for what is due: at most and at least. */
const longestWait = 60_000;
const shortestWait = 50;
/** Milliseconds between two checks during the alarm: so much is wrong that the disk or the memory must be at fault. */
const alarmedWait = 60_000;
/** The node is busy when its event loop works for more than this share of the time, measured over `busyStep` milliseconds. */
const busyShare = 0.5;
const busyStep = 1_000;
/** Blobs skipped in this round because their last check gave no result, or could not change their row. */
const maxSkipped = 1_000;

export interface ScrubberOptions {
  /** Milliseconds in which everything is to be hashed once; 0: nothing is. Read at every step. */
  readonly interval: () => number;
  readonly index: Pick<BlobIndex, "longestUnchecked" | "totals">;
  readonly checks: Pick<BlobChecks, "check" | "alarm">;
  /** Whether requests leave the node little time; left out: measured. */
  readonly busy?: () => boolean;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

interface Round {
  blobs: number;
  bytes: number;
  wrong: number;
  readonly startedAt: number;
}

export class Scrubber {
  readonly #options: ScrubberOptions;
  readonly #busy: () => boolean;
  readonly #stopping = new AbortController();
  readonly #skipped = new Set<Digest>();
  #round: Round | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ScrubberOptions) {
    this.#options = options;
    this.#busy = options.busy ?? busyWatch();
  }

  /** When the longest unchecked blob was last hashed; 0 when one never was; undefined when nothing is stored. */
  get oldestCheck(): number | undefined {
    const [oldest] = this.#options.index.longestUnchecked(1);
    return oldest && (oldest.checkedAt ?? 0);
  }

  /** Works until `stop`, or until the interval is 0; to be called again when it is not any more. */
  start(): void {
    if (this.#options.interval() === 0) return;
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when the check under way, if any, has ended, which it does soon. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted && this.#options.interval() > 0) {
      let wait: number;
      try {
        wait = await this.#step();
      } catch (error) {
        this.#options.notices(noticeOfStoreError("check", error));
        wait = longestWait;
      }
      if (wait > 0) await this.#options.pause(wait, signal).catch(() => {});
    }
  }

  /** Checks one blob, when one is due. Resolves with the milliseconds until the next search. */
  async #step(): Promise<number> {
    const { index, checks, clock } = this.#options;
    const next = index
      .longestUnchecked(this.#skipped.size + 1)
      .find(({ digest }) => !this.#skipped.has(digest));
    const due = next === undefined ? longestWait : this.#dueIn(next.checkedAt);
    if (next === undefined || (due > 0 && !checks.alarm)) {
      this.#endRound();
      this.#skipped.clear();
      return Math.min(Math.max(due, shortestWait), longestWait);
    }
    this.#round ??= { blobs: 0, bytes: 0, wrong: 0, startedAt: clock() };
    const result = await checks.check(next.digest, "scrub", {
      bytesPerSecond: () => this.#rate(),
      signal: this.#stopping.signal,
    });
    this.#round.blobs++;
    this.#round.bytes += next.size;
    if (result === "wrong") this.#round.wrong++;
    // Its row is unchanged, and it would be the first again.
    if (result !== "sound" && this.#skipped.size < maxSkipped) this.#skipped.add(next.digest);
    return checks.alarm ? alarmedWait : 0;
  }

  #dueIn(checkedAt: number | undefined): number {
    const { interval, clock } = this.#options;
    if (checkedAt === undefined) return 0;
    return interval() - recordAge(checkedAt, clock());
  }

  /** Bytes per second, computed anew at every step of a check. */
  #rate(): number {
    const needed = (this.#options.index.totals().bytes * 1000) / this.#options.interval();
    const wanted = this.#busy() ? Math.max(needed, busyRate) : Math.max(2 * needed, idleRate);
    return Math.min(fastest, wanted);
  }

  #endRound(): void {
    if (this.#round === undefined) return;
    const { startedAt, ...counts } = this.#round;
    this.#round = undefined;
    const durationMs = Math.max(0, this.#options.clock() - startedAt);
    this.#options.notices({ kind: "scrubbed", ...counts, durationMs });
  }
}

function busyWatch(): () => boolean {
  let since = performance.now();
  let before = performance.eventLoopUtilization();
  let busy = false;
  return () => {
    if (performance.now() - since < busyStep) return busy;
    since = performance.now();
    const now = performance.eventLoopUtilization();
    busy = performance.eventLoopUtilization(now, before).utilization > busyShare;
    before = now;
    return busy;
  };
}
