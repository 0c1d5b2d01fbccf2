// Bytes of a blob that come before its fill reaches them, because clients asked for ranges far ahead: each piece is one
// request of its own, written to the spool at its place (docs/design.md, "A range far ahead of a fill"). The fill passes
// over them in order, reading them back from the spool, so that its hash is of what clients were given. It never passes
// the byte a piece is still writing, so that nothing is written where the fill has been.
import type { Clock } from "../../ports/clock.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { BlobAnswer } from "../../ports/upstream-answer.ts";
import { Condition } from "./condition.ts";
import { maxRangeRequests, type RangePlan, type Stretch } from "./range-plan.ts";
import { Speed } from "./speed.ts";
import type { Spool } from "./spool.ts";

/** Pieces of one fill, and those of them that are being fetched. */
const maxPieces = 1_024;
const maxRunning = 8;
/** Requests for pieces of one fill that may fail; then all wait for the fill. */
const maxFailures = 4;
/** Stretches of one client's request that are asked for before their turn. */
const stretchesAhead = 3;
/**
 * Milliseconds: a byte is waited for when the fill brings it in two round trips or this time, whichever is longer. A piece
 * is given longer, since ending its transfer early loses what is on its way.
 */
const soon = 100;
const soonInPiece = 500;
/** Bytes that are always near, and those that are while no rate is known. */
const nearby = 256 * 1024;
const nearbyAtFirst = 1024 * 1024;
/**
 * Bytes of the first piece of a range that reaches the end of the blob: many clients leave long before that. Each further
 * one of the same request is twice as long.
 */
const firstPiece = 1024 * 1024;
/**
 * What a transfer of the fill is to bring where there are pieces, in milliseconds at its rate and in bytes: cut off by a new
 * one it would lose what is on its way, which may be MiB.
 */
const partTime = 1_000;
const shortestPart = 256 * 1024;
const usualPart = 1024 * 1024;
const longestPart = 8 * 1024 * 1024;
/** The share of a blob that a transfer of the fill may bring once more rather than be cut off. */
const repeated = 1 / 128;
/** Bytes of one piece that wait to be written. */
const maxUnwritten = 256 * 1024;
/** Bytes read back from the spool at once. */
const readStep = 256 * 1024;

/** Where pieces come from. */
export interface PieceSource {
  /** The bytes from `from` to `to` (exclusive), of the blob the fill is of. Rejects as Upstream.openBlob does. */
  readonly open: (from: number, to: number, signal: AbortSignal) => Promise<BlobAnswer>;
  /** In milliseconds, as far as is known. */
  readonly roundTrip: number | undefined;
  /** Whether ranges are not answered there. */
  readonly refused: boolean;
  /** It has not answered a range with that range. */
  readonly refuse: () => void;
}

/** What the fill itself is doing. */
export interface FillPosition {
  /** Bytes that have come in order. */
  readonly received: number;
  /** Of the whole blob; there are no pieces before it is known. */
  readonly size: number | undefined;
  /** Bytes a millisecond from upstream, when known. */
  readonly rate: number | undefined;
}

export interface PiecesOptions {
  /** Undefined: there are no pieces. */
  readonly source: PieceSource | undefined;
  /** The fill began for a client that asked for a range: there may soon be pieces. */
  readonly ranged: boolean;
  readonly fill: FillPosition;
  readonly spool: Pick<Spool, "usable" | "writeAt" | "read">;
  /** Called when bytes have come, and when a piece has ended. */
  readonly changed: () => void;
  readonly clock: Clock;
  /** The fill is over. */
  readonly signal: AbortSignal;
}

/** What the transfers of a fill have to know of its pieces. */
export interface Ahead {
  /** Where a transfer that begins at `from` is to end (exclusive); undefined: with the blob. */
  partEnd(from: number): number | undefined;
  /** The first byte from `from` on that a piece brings; Infinity without one. */
  limit(from: number): number;
  /** The fill is being sent everything before `to`, or will be: no piece is to bring any of that. */
  asked(to: number): void;
}

interface Piece {
  readonly start: number;
  /** Exclusive. Another piece may begin before it: then this one ends there. */
  end: number;
  /** Bytes before it are in the spool. */
  at: number;
  /** Bytes before it have come. */
  came: number;
  running: boolean;
  readonly speed: Speed;
  /** Ends its request. */
  readonly over: AbortController;
  done: Promise<void>;
}

export class Pieces implements Ahead {
  readonly #options: PiecesOptions;
  /** In the order of the blob. They do not overlap, and all end behind what the fill has received. */
  readonly #pieces: Piece[] = [];
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  readonly #progress = new Condition();
  #asked = 0;
  /** There has been one, or may soon be. */
  #used: boolean;
  #failures = 0;
  /** Bytes that transfers of the fill have brought once more. */
  #repeated = 0;

  constructor(options: PiecesOptions) {
    this.#options = options;
    this.#used = options.ranged;
    this.#signal = AbortSignal.any([options.signal, this.#over.signal]);
    this.#signal.addEventListener("abort", () => this.#progress.notify(), { once: true });
  }

  // ---- for clients --------------------------------------------------------------------------------------------

  /** How many bytes from `position` on are in the spool because of a piece. */
  available(position: number): number {
    const piece = this.#before(position);
    return piece === undefined ? 0 : Math.max(0, piece.at - position);
  }

  /**
   * A client waits for the byte at `position`, one of those it planned to have: asks for it unless it will be here soon
   * anyway, or there are too many requests.
   */
  want(plan: RangePlan, position: number): void {
    const { source, spool } = this.#options;
    if (source === undefined || source.refused || !spool.usable || this.#signal.aborted) return;
    const stretch = plan.at(position);
    this.#ask(source, plan, stretch, position);
    for (const next of plan.after(stretch).slice(0, stretchesAhead))
      this.#ask(source, plan, next, next.start);
  }

  #ask(source: PieceSource, plan: RangePlan, stretch: Stretch, position: number): void {
    const { received, size } = this.#options.fill;
    if (size === undefined || position < Math.max(received, this.#asked)) return;
    const before = this.#before(position);
    const within = before !== undefined && position < before.end ? before : undefined;
    if (within === undefined ? this.#isSoon(source, position) : isSoonIn(within, position)) return;
    const running = this.#pieces.filter((piece) => piece.running).length;
    if (plan.requests >= maxRangeRequests || running >= maxRunning || this.#pieces.length >= maxPieces)
      return;
    if (this.#failures >= maxFailures) return;
    if (within !== undefined) within.end = position;
    const { start, end } = reach(stretch, position, size, plan.requests);
    plan.requests++;
    const from = Math.max(start, received, this.#asked, this.#before(position)?.end ?? 0);
    this.#start(source, from, Math.min(end, this.limit(position)), size);
  }

  /** Whether the fill will be at the byte soon, which no piece brings. */
  #isSoon({ roundTrip = 0 }: PieceSource, position: number): boolean {
    const { received, rate } = this.#options.fill;
    let left = position - received;
    for (const { start, at } of this.#pieces) if (start < position) left -= at - Math.max(start, received);
    return left <= reachable(rate, Math.max(soon, 2 * roundTrip));
  }

  #before(position: number): Piece | undefined {
    return this.#pieces.findLast(({ start }) => start <= position);
  }

  // ---- for the fill -------------------------------------------------------------------------------------------

  limit(from: number): number {
    const piece = this.#pieces.find(({ end }) => end > from);
    return piece === undefined ? Number.POSITIVE_INFINITY : Math.max(from, piece.start);
  }

  partEnd(from: number): number | undefined {
    if (!this.#used || this.#options.source?.refused !== false) return undefined;
    const { rate, size = Number.POSITIVE_INFINITY } = this.#options.fill;
    const part =
      rate === undefined ? usualPart : Math.min(longestPart, Math.max(shortestPart, rate * partTime));
    const end = Math.min(from + Math.ceil(part), this.limit(from));
    return end < size ? end : undefined;
  }

  asked(to: number): void {
    this.#asked = Math.max(this.#asked, to);
  }

  /** A transfer of the fill has ended, or not begun: only what has come is no longer to be asked for. */
  nothingAsked(): void {
    this.#asked = 0;
  }

  /**
   * Whether a transfer of the fill that has come to the piece at `position` goes on and brings its bytes once more, which
   * are then to be thrown away. That costs less than another request when there are few, and is allowed for few.
   */
  mayRepeat(position: number): boolean {
    let end = position;
    for (const piece of this.#pieces) {
      if (piece.end <= position) continue;
      if (piece.start > end) break;
      if (piece.running) return false;
      end = piece.end;
    }
    const { size = 0 } = this.#options.fill;
    if (this.#repeated + end - position > size * repeated) return false;
    this.#repeated += end - position;
    return true;
  }

  /**
   * Gives `take` the bytes from `position` on that pieces have brought or are bringing, up to one that none brings. Rejects
   * with what `take` rejects with, or the reason of the signal.
   */
  async handOver(position: number, take: (chunk: Buffer) => Promise<void>): Promise<void> {
    let at = position;
    let scratch: Buffer | undefined;
    for (;;) {
      while (this.#pieces[0] !== undefined && this.#pieces[0].end <= at) this.#pieces.shift();
      const [piece] = this.#pieces;
      if (piece === undefined || piece.start > at) return;
      if (piece.at > at) {
        scratch ??= Buffer.allocUnsafe(readStep);
        const chunk = await this.#readBack(piece, at, scratch);
        if (chunk === undefined) continue;
        at += chunk.length;
        await take(chunk);
      } else if (this.#signal.aborted) throw this.#signal.reason;
      else await this.#progress.notified;
    }
  }

  /** Undefined when the spool cannot be read: then the piece is dropped, and its bytes come again. */
  async #readBack(piece: Piece, at: number, scratch: Buffer): Promise<Buffer | undefined> {
    try {
      const chunk = await this.#options.spool.read(at, scratch.subarray(0, piece.at - at));
      if (chunk.length > 0) return chunk;
    } catch {
      // A store that fails is reported by what appends to it.
    }
    piece.over.abort();
    await piece.done;
    this.#drop(piece);
    return undefined;
  }

  /** Ends every request; resolves when nothing is written any more. */
  async stop(): Promise<void> {
    this.#over.abort(new Error("the fill is over"));
    await Promise.all(this.#pieces.map(({ done }) => done));
  }

  // ---- one piece ----------------------------------------------------------------------------------------------

  #start(source: PieceSource, start: number, end: number, size: number): void {
    const { clock } = this.#options;
    const piece: Piece = {
      start,
      end,
      at: start,
      came: start,
      running: true,
      speed: new Speed(clock),
      over: new AbortController(),
      done: Promise.resolve(),
    };
    this.#pieces.splice(this.#pieces.findLastIndex((other) => other.start < start) + 1, 0, piece);
    this.#used = true;
    piece.done = this.#fetch(source, piece, size).finally(() => {
      piece.running = false;
      piece.end = piece.at;
      if (piece.at === piece.start) this.#drop(piece);
      this.#changed();
    });
  }

  #drop(piece: Piece): void {
    const index = this.#pieces.indexOf(piece);
    if (index >= 0) this.#pieces.splice(index, 1);
  }

  #changed(): void {
    this.#progress.notify();
    this.#options.changed();
  }

  /** Never rejects. */
  async #fetch(source: PieceSource, piece: Piece, size: number): Promise<void> {
    const signal = AbortSignal.any([this.#signal, piece.over.signal]);
    try {
      const answer = await source.open(piece.start, piece.end, signal);
      if (answer.kind !== "found")
        throw new UpstreamError("protocol", "upstream refuses a part of the blob it is sending");
      if (answer.offset !== piece.start)
        throw new UpstreamError("range_refused", "upstream does not answer the range it was asked for");
      if (answer.size !== size) throw new UpstreamError("protocol", "upstream changed the size of the blob");
      await this.#receive(piece, answer.body, answer.end ?? size);
    } catch (error) {
      this.#failures++;
      if (refusesRanges(error)) source.refuse();
    } finally {
      // Also a body that was not read.
      piece.over.abort();
    }
  }

  /** The body ends at `end`. What comes while a write is under way goes out in the next one. */
  async #receive(piece: Piece, body: AsyncIterable<Buffer>, end: number): Promise<void> {
    const { spool } = this.#options;
    const unwritten: Buffer[] = [];
    let writing: Promise<void> | undefined;
    const write = async (): Promise<void> => {
      while (unwritten.length > 0 && spool.usable) await this.#write(piece, unwritten.splice(0));
    };
    try {
      for await (const chunk of body) {
        const part = chunk.subarray(0, Math.max(0, piece.end - piece.came));
        piece.came += part.length;
        piece.speed.note(part.length);
        unwritten.push(part);
        writing ??= write().finally(() => {
          writing = undefined;
        });
        if (piece.came - piece.at > maxUnwritten) await writing;
        // One that ends by itself leaves its connection to others.
        if (!spool.usable || (piece.came >= piece.end && piece.end < end)) break;
      }
      if (spool.usable && piece.came < piece.end)
        throw new UpstreamError("truncated", "upstream ended in the middle of a range");
    } finally {
      await writing;
      await write();
    }
  }

  async #write(piece: Piece, buffers: readonly Buffer[]): Promise<void> {
    if (!(await this.#options.spool.writeAt(piece.at, buffers))) return;
    piece.at += buffers.reduce((sum, { length }) => sum + length, 0);
    this.#changed();
  }
}

/** Bytes a transfer brings in so many milliseconds. */
function reachable(rate: number | undefined, milliseconds: number): number {
  return rate === undefined ? nearbyAtFirst : Math.max(nearby, rate * milliseconds);
}

/** Whether the byte, which the piece brings, is here or will be soon. */
function isSoonIn({ running, came, speed }: Piece, position: number): boolean {
  return !running || position - came <= reachable(speed.rate, soonInPiece);
}

/** What is to be asked for at once for a client that waits for the byte at `position` of a stretch. */
function reach(stretch: Stretch, position: number, size: number, requests: number): Stretch {
  const { start, end } = stretch;
  if (end < size || end - position <= firstPiece) return stretch;
  return { start: Math.max(start, position), end: Math.min(end, position + firstPiece * 2 ** requests) };
}

/** Whether upstream has failed because it was asked for a range. */
export function refusesRanges(error: unknown): boolean {
  return error instanceof UpstreamError && (error.code === "range_refused" || error.status === 501);
}
