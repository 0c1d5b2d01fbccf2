// The segments of one blob under way, in order and without gaps: what is being fetched, and what has come before its
// turn.

import type { Ahead } from "../fill/pieces.ts";

const smallestSegment = 128 * 1024;
const largestSegment = 1024 * 1024;
/**
 * Bytes reserved for an open transfer when others begin after it: about what its server has sent ahead. While a lost
 * packet is missing most of that is here already, and would cross the link again.
 */
const sentAhead = 1024 * 1024;

/** Who fetches: the main worker, without which the blob gets nowhere, or one of those that help it. */
export type Role = "main" | "helper";

/** Memory for bytes that wait for those before them, over all blobs. */
export class SegmentBudget {
  #left: number;

  /** `bytes` in all. */
  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** False, and nothing is acquired, when there are fewer bytes left. */
  acquire(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  release(bytes: number): void {
    this.#left += bytes;
  }
}

/** Which bytes of the blob others bring. */
export type Bounds = Pick<Ahead, "limit" | "asked">;

export class Segment {
  readonly start: number;
  end: number;
  /** First byte that has not come. */
  at: number;
  /** Whether a worker fetches it. */
  taken = true;
  /** Whether its transfer brings more than the segment, which may yet become longer. */
  open = false;
  /** Whether the open transfer before it is to bring it. Others take it only when nothing else is left. */
  reserved = false;
  /** Bytes of the budget it holds, for what comes before its turn. */
  memory: number;
  readonly chunks: Buffer[] = [];
  /** Bytes of `chunks`. */
  held = 0;

  constructor(start: number, end: number, memory: number) {
    this.start = start;
    this.at = start;
    this.end = end;
    this.memory = memory;
  }

  get full(): boolean {
    return this.at === this.end;
  }

  get untouched(): boolean {
    return this.at === this.start;
  }

  push(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.held += chunk.length;
    this.at += chunk.length;
  }

  /** The next bytes to be handed on. */
  shift(): Buffer | undefined {
    const chunk = this.chunks.shift();
    this.held -= chunk?.length ?? 0;
    return chunk;
  }
}

export class SegmentQueue {
  readonly #ahead: Bounds;
  readonly #size: number;
  readonly #budget: SegmentBudget;
  readonly #segments: Segment[] = [];
  /** First byte that is in no segment. */
  #next: number;
  /** Where the segments end, once every byte before that is in one. */
  #end: number | undefined;

  /** Of the bytes from `from` to the end of a blob of `size` bytes, or to where others bring the next ones. */
  constructor(from: number, size: number, budget: SegmentBudget, ahead: Bounds) {
    this.#next = from;
    this.#size = size;
    this.#budget = budget;
    this.#ahead = ahead;
  }

  /** Where the segments end (exclusive). That may change while there are bytes in no segment, and not any more after that. */
  get end(): number {
    return this.#end ?? Math.min(this.#size, this.#ahead.limit(this.#next));
  }

  /** The one that is handed on now. */
  get front(): Segment | undefined {
    return this.#segments[0];
  }

  /** Whether every byte is in a segment. */
  get complete(): boolean {
    // Workers leave then. Were the end to move afterwards nobody would fetch what comes before it.
    if (this.#next === this.end) this.#end = this.#next;
    return this.#end !== undefined;
  }

  /** Whether every byte has come. */
  get done(): boolean {
    return this.complete && this.#segments.every((segment) => segment.full);
  }

  after(segment: Segment): Segment | undefined {
    return this.#segments[this.#segments.indexOf(segment) + 1];
  }

  /**
   * The next one to be fetched: what was left unfinished first, else a new one of the length that suits `concurrency`
   * transfers, else a reserved one, for helpers the one its open transfer reaches last. Undefined when there is nothing
   * left, or no memory. The front needs none: those behind it may hold all of it until the front has come.
   */
  take(concurrency: number, role: Role): Segment | undefined {
    const unfinished = this.#segments.find((segment) => !segment.taken && !segment.full && !segment.reserved);
    if (unfinished !== undefined) return this.#claim(unfinished);
    if (this.#segments.at(-1)?.open) this.reserve(this.#next + sentAhead);
    if (!this.complete) {
      const length = this.#length(concurrency);
      if (this.#budget.acquire(length)) return this.add(length, length);
      if (role === "main" && this.#segments.length === 0) return this.add(length, 0);
    }
    const reserved = this.#segments.filter((segment) => segment.reserved).at(role === "main" ? 0 : -1);
    return reserved && this.#claim(reserved);
  }

  #claim(segment: Segment): Segment | undefined {
    const length = segment.end - segment.start;
    if (segment.memory === 0 && segment !== this.front) {
      if (!this.#budget.acquire(length)) return undefined;
      segment.memory = length;
    }
    segment.reserved = false;
    segment.taken = true;
    return segment;
  }

  /** Adds a segment of `length` bytes, which a worker fetches, with so many bytes of the budget the caller has acquired. */
  add(length: number, memory: number): Segment {
    const segment = new Segment(this.#next, this.#next + length, memory);
    this.#moveTo(segment.end);
    this.#segments.push(segment);
    return segment;
  }

  /** Reserves what is in no segment yet, up to `end` (exclusive), for the transfer under way. */
  reserve(end: number): void {
    for (let to = Math.min(end, this.end); this.#next < to; ) {
      const segment = this.add(Math.min(smallestSegment, to - this.#next), 0);
      segment.reserved = true;
      segment.taken = false;
    }
  }

  /** The transfer under way has ended: what was reserved for it is for any worker. */
  cancelReservations(): void {
    for (const segment of this.#segments) segment.reserved = false;
  }

  /** Makes the last segment longer: no more than its transfer brings soon, so that others may begin after that. */
  extend(segment: Segment): void {
    this.#moveTo(this.#next + Math.min(smallestSegment, this.end - this.#next));
    segment.end = this.#next;
  }

  /** Makes the segment longer by the one after it. */
  merge(segment: Segment, following: Segment): void {
    this.remove(following);
    segment.end = following.end;
  }

  remove(segment: Segment): void {
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    this.#budget.release(segment.memory);
  }

  #moveTo(next: number): void {
    this.#next = next;
    this.#ahead.asked(next);
  }

  clear(): void {
    for (const segment of [...this.#segments]) this.remove(segment);
  }

  /** Shorter and shorter towards the end, so that no transfer is left with much when the others are done. */
  #length(concurrency: number): number {
    const left = this.end - this.#next;
    const share = Math.ceil(left / (4 * concurrency));
    return Math.min(left, Math.max(smallestSegment, Math.min(largestSegment, share)));
  }
}
