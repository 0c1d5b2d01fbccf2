// The segments of one blob under way, in order and without gaps: what is being fetched, and what has come before its
// turn.

const smallestSegment = 128 * 1024;
const largestSegment = 1024 * 1024;
/**
 * Bytes promised to an open transfer when others begin after it: about what its server has sent ahead. While a lost
 * packet is missing most of that is here already, and would cross the link again.
 */
const sentAhead = 1024 * 1024;

/** Memory for bytes that wait for those before them, over all blobs. */
export class SegmentBudget {
  #left: number;

  /** `bytes` in all. */
  constructor(bytes: number) {
    this.#left = bytes;
  }

  reserve(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  release(bytes: number): void {
    this.#left += bytes;
  }
}

export class Segment {
  readonly start: number;
  end: number;
  /** First byte that has not come. */
  at: number;
  /** Whether a transfer works on it. */
  taken = true;
  /** Whether its transfer brings more than the segment, which may yet become longer. */
  open = false;
  /** Whether the open transfer before it is to bring it, unless nothing else is left for others. */
  promised = false;
  /** Bytes of memory it may fill before its turn comes. */
  reserved: number;
  readonly chunks: Buffer[] = [];
  /** Bytes of `chunks`. */
  held = 0;

  constructor(start: number, end: number, reserved: number) {
    this.start = start;
    this.at = start;
    this.end = end;
    this.reserved = reserved;
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

export class SegmentLine {
  readonly #size: number;
  readonly #budget: SegmentBudget;
  readonly #segments: Segment[] = [];
  /** First byte that is in no segment. */
  #next: number;

  /** Of the bytes from `from` to the end of a blob of `size` bytes. */
  constructor(from: number, size: number, budget: SegmentBudget) {
    this.#next = from;
    this.#size = size;
    this.#budget = budget;
  }

  /** The one that is handed on now. */
  get front(): Segment | undefined {
    return this.#segments[0];
  }

  /** Whether every byte is in a segment. */
  get complete(): boolean {
    return this.#next === this.#size;
  }

  /** Whether every byte has come. */
  get done(): boolean {
    return this.complete && this.#segments.every((segment) => segment.full);
  }

  after(segment: Segment): Segment | undefined {
    return this.#segments[this.#segments.indexOf(segment) + 1];
  }

  /**
   * The next one to be fetched: what was left unfinished first, else a new one for the share of one of `width`
   * transfers, else one that was promised, helpers beginning with what the open transfer reaches last. Undefined when
   * there is nothing left, or no memory, which the front does not need.
   */
  take(width: number, lead: boolean): Segment | undefined {
    const left = this.#segments.find((segment) => !segment.taken && !segment.full && !segment.promised);
    if (left !== undefined) return this.#claim(left);
    if (this.#segments.at(-1)?.open) this.promise(Math.min(this.#size, this.#next + sentAhead));
    if (!this.complete) {
      const length = this.#length(width);
      if (this.#budget.reserve(length)) return this.add(length, length);
      if (lead && this.#segments.length === 0) return this.add(length, 0);
    }
    const promised = this.#segments.filter((segment) => segment.promised).at(lead ? 0 : -1);
    return promised && this.#claim(promised);
  }

  #claim(segment: Segment): Segment | undefined {
    const length = segment.end - segment.start;
    if (segment.reserved === 0 && segment !== this.front) {
      if (!this.#budget.reserve(length)) return undefined;
      segment.reserved = length;
    }
    segment.promised = false;
    segment.taken = true;
    return segment;
  }

  add(length: number, reserved: number): Segment {
    const segment = new Segment(this.#next, this.#next + length, reserved);
    this.#next = segment.end;
    this.#segments.push(segment);
    return segment;
  }

  /** Keeps what is in no segment yet, up to `end`, for the transfer under way. */
  promise(end: number): void {
    while (this.#next < end) {
      const segment = this.add(Math.min(smallestSegment, end - this.#next), 0);
      segment.promised = true;
      segment.taken = false;
    }
  }

  /** The transfer under way has ended before it brought what it was promised. */
  withdraw(): void {
    for (const segment of this.#segments) segment.promised = false;
  }

  /** Makes the last segment longer: no more than its transfer brings soon, so that others may begin after that. */
  stretch(segment: Segment): void {
    this.#next += Math.min(smallestSegment, this.#size - this.#next);
    segment.end = this.#next;
  }

  /** Makes the segment longer by the one after it. */
  join(segment: Segment, following: Segment): void {
    this.remove(following);
    segment.end = following.end;
  }

  remove(segment: Segment): void {
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    this.#budget.release(segment.reserved);
  }

  clear(): void {
    for (const segment of [...this.#segments]) this.remove(segment);
  }

  /** Less and less towards the end, so that no transfer is left with much when the others are done. */
  #length(width: number): number {
    const left = this.#size - this.#next;
    const share = Math.ceil(left / (4 * width));
    return Math.min(left, Math.max(smallestSegment, Math.min(largestSegment, share)));
  }
}
