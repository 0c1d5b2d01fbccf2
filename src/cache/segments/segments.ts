// The rest of one blob in several transfers at once, handed on in order. One of them, the lead, may wait for its
// connection like any other; helpers use only connections nobody else needs. A segment whose transfer breaks goes on
// from the byte it reached.
import { setImmediate } from "node:timers/promises";
import type { Pause } from "../../ports/clock.ts";
import { type BlobAsk, type Upstream, UpstreamError } from "../../ports/upstream.ts";
import type { BlobAnswer } from "../../ports/upstream-answer.ts";
import { Condition } from "../fill/condition.ts";
import { RetryBudget } from "../fill/transfer.ts";
import type { SegmentWidth } from "./concurrency.ts";
import { type Segment, type SegmentBudget, SegmentLine } from "./segment-queue.ts";

/** Bytes held of a segment nothing is reserved for: they are handed on while it comes. */
const readAhead = 256 * 1024;
/** Transfers of helpers that may break during one blob; then it goes on with fewer. */
const patienceWithHelpers = 8;

/** Asks for the bytes from `from` on, or for a part of them. */
export type OpenPart = (from: number, signal: AbortSignal, ask: BlobAsk) => Promise<BlobAnswer>;

export interface SegmentsOptions {
  readonly open: OpenPart;
  readonly upstream: Pick<Upstream, "name" | "spare">;
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly width: SegmentWidth;
  readonly budget: SegmentBudget;
  readonly pause: Pause;
  /** Ends every transfer. */
  readonly signal: AbortSignal;
}

/** A transfer: the bytes of `body` end at `end` (exclusive). */
interface Transfer {
  readonly body: AsyncIterator<Buffer>;
  readonly end: number;
}

type Role = "lead" | "helper";

/** Upstream sends all of the blob, whatever part of it is asked for. */
class RangeIgnored extends UpstreamError {}

/**
 * The bytes of a blob from `from` on, of which the transfer `body`, under way, brings those up to `end` (exclusive).
 * Leaving the iteration ends every transfer. Rejects with UpstreamError when the lead's patience is over.
 */
export async function* inSegments(
  options: SegmentsOptions,
  from: number,
  body: AsyncIterator<Buffer>,
  end: number,
): AsyncGenerator<Buffer> {
  const crew = new Crew(options, from);
  try {
    crew.start({ body, end });
    for (let chunk = await crew.next(); chunk !== undefined; chunk = await crew.next()) yield chunk;
  } finally {
    crew.stop();
    body.return?.().catch(() => {});
  }
}

class Crew {
  readonly #options: SegmentsOptions;
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  readonly #line: SegmentLine;
  readonly #from: number;
  /** Bytes that have come since. */
  #received = 0;
  #helpers = 0;
  #brokenHelpers = 0;
  /** Notified when bytes have come or gone, when a segment is left unfinished, and at the end. */
  readonly #changed = new Condition();
  #failure: unknown;

  constructor(options: SegmentsOptions, from: number) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#over.signal]);
    this.#signal.addEventListener("abort", () => this.#changed.notify(), { once: true });
    this.#line = new SegmentLine(from, options.size, options.budget);
    this.#from = from;
  }

  /** With a transfer under way, that of the lead. */
  start(first: Transfer): void {
    const segment = this.#line.add(0, 0);
    if (first.end < this.#options.size) this.#line.promise(first.end);
    void this.#work("lead", { segment, transfer: first });
    this.#callHelpers();
  }

  /** The next bytes; undefined at the end of the blob. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const { front } = this.#line;
      const chunk = front?.shift();
      if (chunk !== undefined) {
        this.#changed.notify();
        return chunk;
      }
      if (front?.full && !front.open) {
        this.#line.remove(front);
        this.#changed.notify();
      } else if (this.#failure !== undefined) throw this.#failure;
      else if (front === undefined && this.#line.complete) {
        this.#options.width.end();
        return undefined;
      } else if (this.#signal.aborted) throw this.#signal.reason;
      else await this.#changed.notified;
    }
  }

  stop(): void {
    this.#over.abort();
    this.#line.clear();
  }

  // ---- workers ------------------------------------------------------------------------------------------------

  #callHelpers(): void {
    const { upstream, width } = this.#options;
    const wanted = this.#brokenHelpers < patienceWithHelpers ? width.now - 1 : 0;
    while (this.#helpers < wanted && upstream.spare && !this.#line.complete) {
      this.#helpers++;
      void this.#work("helper").finally(() => {
        this.#helpers--;
      });
    }
  }

  /** Fetches one segment after the other. Never rejects. */
  async #work(role: Role, begun?: { segment: Segment; transfer: Transfer }): Promise<void> {
    const patience = new RetryBudget();
    let first = begun;
    while (!this.#signal.aborted && this.#failure === undefined && !this.#line.done) {
      if (role === "helper" && this.#helpers >= this.#options.width.now) return;
      const segment = first?.segment ?? this.#line.take(this.#options.width.now, role === "lead");
      if (segment === undefined) {
        await this.#changed.notified;
        continue;
      }
      try {
        await this.#receive(segment, first?.transfer ?? (await this.#open(segment, role)));
        this.#options.width.decide(this.#left);
      } catch (error) {
        segment.taken = false;
        if (error instanceof RangeIgnored) this.#options.width.refuse();
        if (role === "helper") {
          this.#brokenHelpers++;
          return;
        }
        await this.#wait(patience, error);
      } finally {
        first = undefined;
        if (segment.open) this.#line.withdraw();
        segment.open = false;
        this.#changed.notify();
      }
    }
  }

  /** The failure of everything, when the patience is over. */
  async #wait(patience: RetryBudget, error: unknown): Promise<void> {
    const pause = patience.after(error, this.#received);
    if (pause === undefined) this.#failure = error;
    else await this.#options.pause(pause, this.#signal).catch(() => {});
  }

  async #open(segment: Segment, role: Role): Promise<Transfer> {
    const { open, upstream, size } = this.#options;
    const { at, end } = segment;
    // Helpers begin after the lead's segment, which is in the line by now.
    if (role === "lead") this.#callHelpers();
    // The connection of the transfer before is free again in the next turn of the event loop, and warm.
    await setImmediate();
    const use = role === "lead" ? undefined : "background";
    // Alone, it goes on to the end of the blob, unless others begin to help meanwhile.
    const to = this.#helpers === 0 ? size : end;
    const answer = await open(at, this.#signal, { to, use });
    if (answer.kind !== "found")
      throw new UpstreamError("protocol", `upstream ${upstream.name} no longer has the blob it was sending`);
    const body = answer.body[Symbol.asyncIterator]();
    if (answer.offset === at && answer.size === size) return { body, end: answer.end ?? size };
    await body.return?.();
    if (answer.offset === at)
      throw new UpstreamError("protocol", `upstream ${upstream.name} changed the size of the blob`);
    // Whoever asks for the rest of the blob can do with all of it.
    throw new RangeIgnored("truncated", `upstream ${upstream.name} ignored the range it was asked for`);
  }

  /**
   * Rejects when the body ends early. A transfer that brings more than the segment goes on with what follows as long
   * as nobody else brings that, and is cut then.
   */
  async #receive(segment: Segment, { body, end }: Transfer): Promise<void> {
    for (;;) {
      segment.open = end > segment.end;
      if (segment.full && segment.open && !(await this.#grow(segment))) break;
      const step = await body.next();
      if (this.#signal.aborted) break;
      if (step.done) {
        if (segment.full) return;
        throw new UpstreamError("truncated", `a transfer ended at ${segment.at} of ${segment.end} bytes`);
      }
      if (!(await this.#came(segment, step.value, end))) break;
      while (segment.held > Math.max(segment.reserved, readAhead) && !this.#signal.aborted)
        await this.#changed.notified;
    }
    await body.return?.();
  }

  /** False when the chunk goes beyond the segment, and others bring that. */
  async #came(segment: Segment, chunk: Buffer, end: number): Promise<boolean> {
    let rest = chunk;
    while (rest.length > 0) {
      segment.open = end > segment.end;
      if (segment.full && !(segment.open && (await this.#grow(segment)))) return false;
      const part = rest.subarray(0, segment.end - segment.at);
      rest = rest.subarray(part.length);
      segment.push(part);
      this.#count(part.length);
      this.#callHelpers();
      this.#changed.notify();
    }
    return true;
  }

  /** Bytes of the blob that have not come. */
  get #left(): number {
    return this.#options.size - this.#from - this.#received;
  }

  #count(bytes: number): void {
    this.#received += bytes;
    this.#options.width.note(bytes, this.#helpers + 1, this.#left);
  }

  /** Makes a full segment longer, unless others have begun to bring what follows; waits until that is known. */
  async #grow(segment: Segment): Promise<boolean> {
    for (;;) {
      const following = this.#line.after(segment);
      if (following === undefined) {
        this.#line.stretch(segment);
        return true;
      }
      if (!following.untouched || this.#signal.aborted) return false;
      if (!following.taken) {
        this.#line.join(segment, following);
        return true;
      }
      await this.#changed.notified;
    }
  }
}
