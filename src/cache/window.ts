// The newest bytes of a running fill, kept in memory: followers that keep up are fed from here without touching
// the spool. One budget is shared by all fills, so memory does not grow with their number.

const largestWindow = 4 * 1024 * 1024;
const smallestWindow = 512 * 1024;

/** Splits a number of bytes evenly over the running fills. */
export class WindowBudget {
  readonly #total: number;
  #fills = 0;

  /** `total` in bytes; the bound holds while fewer than `total` / 512 KiB fills run. */
  constructor(total: number) {
    this.#total = total;
  }

  enter(): void {
    this.#fills++;
  }

  leave(): void {
    this.#fills--;
  }

  /** Bytes one fill may hold now: between 512 KiB and 4 MiB. */
  get share(): number {
    return Math.max(
      smallestWindow,
      Math.min(largestWindow, Math.floor(this.#total / Math.max(1, this.#fills))),
    );
  }
}

/** Consecutive chunks of one blob, from `start` (oldest byte kept) to `end` (next byte to come). */
export class Window {
  #chunks: Buffer[] = [];
  #offsets: number[] = [];
  /** Index of the oldest chunk; the arrays are compacted when more than half is behind it. */
  #head = 0;
  #end = 0;

  get start(): number {
    return this.#offsets[this.#head] ?? this.#end;
  }

  get end(): number {
    return this.#end;
  }

  get bytes(): number {
    return this.#end - this.start;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#offsets.push(this.#end);
    this.#end += chunk.length;
  }

  /** Forgets whole chunks that end at or before `offset`, while more than `keep` bytes are held. */
  trim(offset: number, keep: number): void {
    while (this.#head < this.#chunks.length && this.bytes > keep) {
      const next = this.#offsets[this.#head + 1] ?? this.#end;
      if (next > offset) break;
      this.#chunks[this.#head] = Buffer.alloc(0);
      this.#head++;
    }
    if (this.#head > 64 && this.#head * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head);
      this.#offsets = this.#offsets.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The bytes from `position` to the end of its chunk; undefined when that chunk is not held. */
  at(position: number): Buffer | undefined {
    const index = this.#find(position);
    if (index < 0) return undefined;
    return (this.#chunks[index] as Buffer).subarray(position - (this.#offsets[index] as number));
  }

  /** Whole chunks from the one starting at `offset` (a chunk boundary) to the end. */
  since(offset: number): Buffer[] {
    const index = this.#find(offset);
    return index < 0 ? [] : this.#chunks.slice(index);
  }

  #find(position: number): number {
    if (position < this.start || position >= this.#end) return -1;
    let low = this.#head;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#offsets[middle] as number) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
