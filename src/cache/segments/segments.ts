// The rest of one blob in several transfers at once, handed on in order. The main worker may wait for its connection
// like any other transfer; helpers use only connections that nothing else needs. A segment whose transfer breaks goes on
// from the byte it reached.
import { setImmediate } from "node:timers/promises";
import type { Pause } from "../../ports/clock.ts";
import { currentSpan, type Span, within } from "../../ports/tracing/span.ts";
import { type BlobAsk, type Upstream, UpstreamError } from "../../ports/upstream.ts";
import type { BlobAnswer } from "../../ports/upstream-answer.ts";
import { Condition } from "../fill/condition.ts";
import type { Ahead } from "../fill/pieces.ts";
import { RetryBudget } from "../fill/transfer.ts";
import type { BlobConcurrency } from "./concurrency.ts";
import { type Role, type Segment, type SegmentBudget, SegmentQueue } from "./segment-queue.ts";

/** Bytes held of a segment without memory of its own: they are handed on while it comes. */
const readAhead = 256 * 1024;
/** Transfers of helpers that may break during one blob; then no more helpers are started. */
const maxHelperFailures = 8;

/** Asks for the bytes from `from` on, or for a part of them. */
export type OpenPart = (from: number, signal: AbortSignal, ask: BlobAsk) => Promise<BlobAnswer>;

export interface SegmentsOptions {
  readonly open: OpenPart;
  readonly upstream: Pick<Upstream, "name" | "spare">;
  /** Bytes of the whole blob. */
  readonly size: number;
  /** What comes by other ways: the body ends where that begins. */
  readonly ahead: Ahead;
  readonly concurrency: BlobConcurrency;
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

/** Upstream sends all of the blob, whatever part of it is asked for. */
class RangeIgnored extends UpstreamError {}

/**
 * The bytes of a blob from `from` on, of which the transfer `body`, under way, brings those up to `end` (exclusive).
 * Leaving the iteration ends every transfer. Rejects with UpstreamError when the main worker's retry budget is spent.
 */
export async function* inSegments(
  options: SegmentsOptions,
  from: number,
  body: AsyncIterator<Buffer>,
  end: number,
): AsyncGenerator<Buffer> {
  const workers = new Workers(options, from);
  try {
    workers.start({ body, end });
    for (let chunk = await workers.next(); chunk !== undefined; chunk = await workers.next()) yield chunk;
  } finally {
    workers.stop();
    body.return?.().catch(() => {});
  }
}

class Workers {
  readonly #options: SegmentsOptions;
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  readonly #queue: SegmentQueue;
  readonly #from: number;
  /** Bytes that have come since. */
  #received = 0;
  #helpers = 0;
  #helperFailures = 0;
  /** Notified when bytes have come or gone, when a segment is left unfinished, and at the end. */
  readonly #changed = new Condition();
  #failure: unknown;

  constructor(options: SegmentsOptions, from: number) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#over.signal]);
    this.#signal.addEventListener("abort", () => this.#changed.notify(), { once: true });
    this.#queue = new SegmentQueue(from, options.size, options.budget, options.ahead);
    this.#from = from;
  }

  /** With a transfer under way, which becomes that of the main worker. */
  start(first: Transfer): void {
    const segment = this.#queue.add(0, 0);
    if (first.end < this.#options.size) this.#queue.reserve(first.end);
    void this.#work("main", { segment, transfer: first });
    this.#startHelpers();
  }

  /** The next bytes; undefined at the end of the blob. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const { front } = this.#queue;
      const chunk = front?.shift();
      if (chunk !== undefined) {
        this.#changed.notify();
        return chunk;
      }
      if (front?.full && !front.open) {
        this.#queue.remove(front);
        this.#changed.notify();
      } else if (this.#failure !== undefined) throw this.#failure;
      else if (front === undefined && this.#queue.complete) {
        if (this.#queue.end === this.#options.size) this.#options.concurrency.end();
        return undefined;
      } else if (this.#signal.aborted) throw this.#signal.reason;
      else await this.#changed.notified;
    }
  }

  stop(): void {
    this.#over.abort();
    this.#queue.clear();
  }

  // ---- workers ------------------------------------------------------------------------------------------------

  #startHelpers(): void {
    const { upstream, concurrency } = this.#options;
    const wanted = this.#helperFailures < maxHelperFailures ? concurrency.now - 1 : 0;
    while (this.#helpers < wanted && upstream.spare && !this.#queue.complete) {
      this.#helpers++;
      void this.#work("helper").finally(() => {
        this.#helpers--;
      });
    }
  }

  /** Fetches one segment after the other. Never rejects. */
  async #work(role: Role, begun?: { segment: Segment; transfer: Transfer }): Promise<void> {
    const retries = new RetryBudget();
    let first = begun;
    while (!this.#signal.aborted && this.#failure === undefined && !this.#queue.done) {
      if (role === "helper" && this.#helpers >= this.#options.concurrency.now) return;
      const segment = first?.segment ?? this.#queue.take(this.#options.concurrency.now, role);
      if (segment === undefined) {
        await this.#changed.notified;
        continue;
      }
      try {
        await this.#fetch(segment, role, first?.transfer);
        this.#options.concurrency.decide(this.#left);
      } catch (error) {
        segment.taken = false;
        if (error instanceof RangeIgnored) this.#options.concurrency.refuse();
        if (role === "helper") {
          this.#helperFailures++;
          return;
        }
        await this.#wait(retries, error);
      } finally {
        first = undefined;
        if (segment.open) this.#queue.cancelReservations();
        segment.open = false;
        this.#changed.notify();
      }
    }
  }

  /** By the transfer, or one that is asked for. */
  async #fetch(segment: Segment, role: Role, transfer: Transfer | undefined): Promise<void> {
    const { at } = segment;
    const span = currentSpan()?.child("segment", { "entrepot.offset": at, "entrepot.role": role });
    try {
      await this.#receive(segment, transfer ?? (await this.#open(segment, role, span)));
      span?.set({ "entrepot.bytes": segment.at - at });
      span?.end();
    } catch (error) {
      span?.set({ "entrepot.bytes": segment.at - at });
      span?.end(error);
      throw error;
    }
  }

  /** Waits before the next try; without one left the whole body fails. */
  async #wait(retries: RetryBudget, error: unknown): Promise<void> {
    const pause = retries.after(error, this.#received);
    if (pause === undefined) this.#failure = error;
    else await this.#options.pause(pause, this.#signal).catch(() => {});
  }

  /** `span`: that of the segment. Helpers that begin meanwhile are not its work. */
  async #open(segment: Segment, role: Role, span: Span | undefined): Promise<Transfer> {
    const { open, upstream, size, ahead } = this.#options;
    const { at, end } = segment;
    // Helpers begin after this segment, which is in the queue by now.
    if (role === "main") this.#startHelpers();
    // In the next turn of the event loop the connection of the transfer before is free again.
    await setImmediate();
    const use = role === "main" ? undefined : "background";
    // Alone, it goes on as far as there is to go, unless others begin to help meanwhile.
    const to = this.#helpers === 0 ? Math.max(end, ahead.partEnd(at) ?? size) : end;
    const answer = await within(span, () => open(at, this.#signal, { to, use }));
    if (answer.kind !== "found")
      throw new UpstreamError("protocol", `upstream ${upstream.name} no longer has the blob it was sending`);
    const body = answer.body[Symbol.asyncIterator]();
    if (answer.offset === at && answer.size === size) return { body, end: answer.end ?? size };
    await body.return?.();
    if (answer.offset === at)
      throw new UpstreamError("protocol", `upstream ${upstream.name} changed the size of the blob`);
    // As `truncated` it is retried. A segment has no use for other bytes; a fill skips those it has already.
    throw new RangeIgnored("truncated", `upstream ${upstream.name} ignored the range it was asked for`);
  }

  /**
   * Rejects when the body ends early. A transfer that brings more than the segment goes on with what follows until it
   * reaches what another worker has begun; it is cut there.
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
      while (segment.held > Math.max(segment.memory, readAhead) && !this.#signal.aborted)
        await this.#changed.notified;
    }
    await body.return?.();
  }

  /** False when the chunk goes beyond the segment, into what another worker brings. */
  async #came(segment: Segment, chunk: Buffer, end: number): Promise<boolean> {
    let rest = chunk;
    while (rest.length > 0) {
      segment.open = end > segment.end;
      if (segment.full && !(segment.open && (await this.#grow(segment)))) return false;
      const part = rest.subarray(0, segment.end - segment.at);
      rest = rest.subarray(part.length);
      segment.push(part);
      this.#count(part.length);
      this.#startHelpers();
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
    this.#options.concurrency.note(bytes, this.#helpers + 1, this.#left);
  }

  /** Makes a full segment longer, unless another worker has begun to bring what follows; waits until that is known. */
  async #grow(segment: Segment): Promise<boolean> {
    for (;;) {
      const following = this.#queue.after(segment);
      if (following === undefined) {
        if (this.#queue.complete) return false;
        this.#queue.extend(segment);
        return true;
      }
      if (!following.untouched || this.#signal.aborted) return false;
      if (!following.taken) {
        this.#queue.merge(segment, following);
        return true;
      }
      await this.#changed.notified;
    }
  }
}
