// The file Telegraf's tail input reads. Lines are appended in batches, each one write in append mode that ends with a
// line's end, so a reader never sees a part of a line that stays. A full file is renamed out of the reader's pattern,
// never truncated under it. Nobody waits for any of it.
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";

export interface InfluxFileOptions {
  readonly directory: string;
  /** Bytes at which a file is set aside. */
  readonly maxSize: number;
  /** Files set aside that are kept. */
  readonly keep: number;
  /** Told how many lines have not been written and will not be. */
  readonly lost: (lines: number) => void;
  /** Told when writing begins to fail, and with undefined when it works again. */
  readonly failing: (error: Error | undefined) => void;
}

/** Whole lines, and how many. */
interface Batch {
  readonly bytes: Buffer;
  readonly lines: number;
}

type File = Awaited<ReturnType<typeof open>>;

/** What Telegraf is told to read; set aside as `entrepot.influx.1` and so on, which `*.influx` does not match. */
export const influxFileName = "entrepot.influx";

/** Bytes in one write. Full, it does not wait for the next beat. */
const batchSize = 256 * 1024;
/** Batches that wait to be written, 16 MiB; later lines are lost. */
const maxWaiting = 64;
/** Milliseconds between writes at an easy pace. */
const beat = 1000;
const flushTimeout = 5000;
const lineEnd = 0x0a;

export class InfluxFile {
  readonly #options: InfluxFileOptions;
  readonly #path: string;
  /** Lines are bytes at once: thousands of strings kept for a second cost the garbage collector more than they do. */
  #filling = Buffer.allocUnsafeSlow(batchSize);
  #used = 0;
  #lines = 0;
  #waiting: Batch[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  /** The file may end in the middle of a line: another process died over it, or a write broke off. */
  #suspect = true;
  #failing = false;

  constructor(options: InfluxFileOptions) {
    this.#options = options;
    this.#path = join(options.directory, influxFileName);
  }

  /** Takes one whole line of less than 80 KiB. Never throws and never blocks. */
  write(line: string): void {
    const mostBytes = 3 * line.length;
    if (this.#used + mostBytes > batchSize) this.#seal();
    if (mostBytes > batchSize || this.#waiting.length >= maxWaiting) {
      this.#options.lost(1);
      return;
    }
    this.#used += this.#filling.write(line, this.#used);
    this.#lines++;
    this.#schedule();
  }

  /** Resolves when everything taken so far is written or given up, after 5 s at the latest. */
  async flush(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, flushTimeout);
    const written = async () => {
      while (this.#used > 0 || this.#waiting.length > 0 || this.#writing !== undefined) {
        this.#start();
        await this.#writing;
      }
    };
    await Promise.race([written(), promise]);
    clearTimeout(timer);
  }

  #seal(): void {
    if (this.#used === 0) return;
    this.#waiting.push({ bytes: this.#filling.subarray(0, this.#used), lines: this.#lines });
    this.#filling = Buffer.allocUnsafeSlow(batchSize);
    this.#used = 0;
    this.#lines = 0;
  }

  #schedule(): void {
    if (this.#writing !== undefined) return;
    if (this.#waiting.length > 0) this.#start();
    else if (this.#used > 0) this.#timer ??= setTimeout(() => this.#start(), beat).unref();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
      this.#schedule();
    });
  }

  async #writeAll(): Promise<void> {
    if (this.#waiting.length === 0) this.#seal();
    for (let batch = this.#waiting[0]; batch !== undefined; batch = this.#waiting[0]) {
      await this.#writeBatch(batch);
      this.#waiting.shift();
    }
  }

  async #writeBatch({ bytes, lines }: Batch): Promise<void> {
    let written = 0;
    try {
      const { file, size } = await this.#open(bytes.length);
      try {
        while (written < bytes.length) written += (await file.write(bytes, written)).bytesWritten;
      } catch (error) {
        written = await this.#undoPart(file, size, bytes.subarray(0, written));
        throw error;
      } finally {
        await file.close();
      }
      this.#tell(undefined);
    } catch (error) {
      this.#options.lost(lines - count(bytes.subarray(0, written)));
      this.#tell(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /**
   * The file, opened for this batch alone: whoever moves or removes it in between does no harm. It is set aside
   * before a batch that would make it too large, not after: the reader has had a beat to come to its end.
   */
  async #open(length: number): Promise<{ file: File; size: number }> {
    const file = await this.#append();
    try {
      const { size } = await file.stat();
      const torn = this.#suspect && size > 0 && !(await endsWhole(file, size));
      this.#suspect = false;
      if (!torn && (size === 0 || size + length <= this.#options.maxSize)) return { file, size };
    } catch (error) {
      await file.close();
      throw error;
    }
    await file.close();
    await this.#setAside();
    return { file: await this.#append(), size: 0 };
  }

  async #append(): Promise<File> {
    try {
      return await open(this.#path, "a+", 0o640);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      await mkdir(this.#options.directory, { recursive: true });
      return await open(this.#path, "a+", 0o640);
    }
  }

  /** `entrepot.influx.1` is the newest of those set aside. */
  async #setAside(): Promise<void> {
    const { keep } = this.#options;
    if (keep === 0) return await rm(this.#path, { force: true });
    for (let at = keep - 1; at > 0; at--)
      await renameIfThere(`${this.#path}.${at}`, `${this.#path}.${at + 1}`);
    await renameIfThere(this.#path, `${this.#path}.1`);
  }

  /** A write that broke off may have left a part of a line, which could be read as another line. Bytes left whole. */
  async #undoPart(file: File, size: number, written: Buffer): Promise<number> {
    const whole = written.lastIndexOf(lineEnd) + 1;
    if (whole === written.length) return whole;
    await file.truncate(size + whole).catch(() => {
      this.#suspect = true;
    });
    return whole;
  }

  #tell(error: Error | undefined): void {
    if ((error !== undefined) === this.#failing) return;
    this.#failing = error !== undefined;
    this.#options.failing(error);
  }
}

async function endsWhole(file: File, size: number): Promise<boolean> {
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer[0] === lineEnd;
}

async function renameIfThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

function count(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(lineEnd); at >= 0; at = bytes.indexOf(lineEnd, at + 1)) lines++;
  return lines;
}
