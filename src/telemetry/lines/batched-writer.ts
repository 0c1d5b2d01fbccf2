// Lines gathered into batches that are written one at a time, in bounded memory. Callers never wait and nothing throws.
import { realPause } from "../../ports/clock.ts";
import { inTime } from "../../ports/deadline.ts";

export interface BatchedWriterOptions {
  /** Writes whole lines, of which there are `lines`. Resolves with how many of them are lost. Must not reject. */
  readonly writeBatch: (bytes: Buffer, lines: number) => Promise<number>;
  /** Called with the number of lines lost, each time some are. */
  readonly onLost: (lines: number) => void;
  /** Bytes of a batch. A full one does not wait. */
  readonly batchSize: number;
  /** Bytes of all batches, the one being written among them; further lines are lost. */
  readonly maxBytes: number;
  /** Milliseconds a line waits for others, because a write for each line costs more than making it. */
  readonly gatherTime: number;
  /** Whether lines that wait keep the process alive. */
  readonly keepsProcess: boolean;
  /** Milliseconds a flush takes at most. */
  readonly flushTimeout: number;
}

/** Lines as bytes: strings that wait grow old enough for V8's slow collector. */
interface Batch {
  readonly bytes: Buffer;
  length: number;
  lines: number;
}

export class BatchedWriter {
  readonly #options: BatchedWriterOptions;
  /** Oldest first; the last one takes lines. */
  readonly #waiting: Batch[] = [];
  /** A buffer that was written, for the next batch. */
  #spare: Batch | undefined;
  #heldBytes = 0;
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lost = 0;

  constructor(options: BatchedWriterOptions) {
    this.#options = options;
  }

  /** Lines lost so far. */
  get lost(): number {
    return this.#lost;
  }

  /** Takes one whole line. */
  write(line: string): void {
    const batch = this.#batchFor(line);
    if (batch === undefined) {
      this.#lose(1);
      return;
    }
    batch.length += batch.bytes.write(line, batch.length);
    batch.lines += 1;
    if (this.#writing === undefined) this.#schedule();
  }

  /** Resolves when everything taken so far is written or lost, after `flushTimeout` at the latest. */
  async flush(): Promise<void> {
    await inTime(this.#writeAll(), this.#options.flushTimeout, realPause);
  }

  /** The batch for this line; undefined when too much waits already. */
  #batchFor(line: string): Batch | undefined {
    const last = this.#waiting.at(-1);
    const room = last === undefined ? 0 : last.bytes.length - last.length;
    // A UTF-16 unit has at most three bytes, so most lines need not be measured.
    if (line.length * 3 <= room) return last;
    const length = Buffer.byteLength(line);
    if (length <= room) return last;
    const { batchSize, maxBytes } = this.#options;
    const size = Math.max(length, batchSize);
    if (this.#heldBytes + size > maxBytes) return undefined;
    this.#heldBytes += size;
    const batch = this.#emptyBatch(size);
    this.#waiting.push(batch);
    return batch;
  }

  #emptyBatch(size: number): Batch {
    const spare = this.#spare;
    if (spare === undefined || spare.bytes.length !== size)
      return { bytes: Buffer.allocUnsafeSlow(size), length: 0, lines: 0 };
    this.#spare = undefined;
    return spare;
  }

  #schedule(): void {
    if (this.#waiting.length > 1) this.#writeOldest();
    else if (this.#waiting.length === 1 && this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#writeOldest(), this.#options.gatherTime);
      if (!this.#options.keepsProcess) this.#timer.unref();
    }
  }

  #writeOldest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting.shift();
    if (batch !== undefined) this.#writing = this.#write(batch);
  }

  async #write(batch: Batch): Promise<void> {
    const { writeBatch, batchSize } = this.#options;
    const lost = await writeBatch(batch.bytes.subarray(0, batch.length), batch.lines);
    if (lost > 0) this.#lose(lost);
    this.#heldBytes -= batch.bytes.length;
    if (batch.bytes.length === batchSize) {
      batch.length = 0;
      batch.lines = 0;
      this.#spare = batch;
    }
    this.#writing = undefined;
    this.#schedule();
  }

  async #writeAll(): Promise<void> {
    while (this.#writing !== undefined || this.#waiting.length > 0) {
      if (this.#writing === undefined) this.#writeOldest();
      await this.#writing;
    }
  }

  #lose(lines: number): void {
    this.#lost += lines;
    this.#options.onLost(lines);
  }
}
