// The file Telegraf's tail input reads. Lines are appended in batches, each one write in append mode that ends with a
// line's end, so a reader never sees a part of a line that stays. A full file is renamed out of the reader's pattern,
// never truncated while it is read. No request waits for any of it.
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { BatchedWriter } from "./batched-writer.ts";

export interface InfluxFileOptions {
  readonly directory: string;
  /** Bytes at which a file is set aside. */
  readonly maxSize: number;
  /** Files set aside that are kept. */
  readonly keep: number;
  /** Called with the number of lines that are lost, each time some are. */
  readonly lost: (lines: number) => void;
  /** Called when writing begins to fail, and with undefined when it works again. */
  readonly failing: (error: Error | undefined) => void;
}

type File = Awaited<ReturnType<typeof open>>;

/** The file Telegraf is configured to read; set aside as `entrepot.influx.1` and so on, which `*.influx` does not match. */
export const influxFileName = "entrepot.influx";

const batchSize = 256 * 1024;
const maxBytes = 16 * 1024 * 1024;
/** Milliseconds between two writes. */
const gatherTime = 1000;
const flushTimeout = 5000;
const lineEnd = 0x0a;

export class InfluxFile {
  readonly #options: InfluxFileOptions;
  readonly #path: string;
  readonly #writer: BatchedWriter;
  /** The file may end in the middle of a line: another process died while writing it, or a write broke off. */
  #suspect = true;
  #failing = false;

  constructor(options: InfluxFileOptions) {
    this.#options = options;
    this.#path = join(options.directory, influxFileName);
    this.#writer = new BatchedWriter({
      writeBatch: (bytes, lines) => this.#writeBatch(bytes, lines),
      onLost: options.lost,
      batchSize,
      maxBytes,
      gatherTime,
      keepsProcess: false,
      flushTimeout,
    });
  }

  /** Takes one whole line. Never throws and never blocks. */
  write(line: string): void {
    this.#writer.write(line);
  }

  /** Resolves when everything taken so far is written or given up, after 5 s at the latest. */
  flush(): Promise<void> {
    return this.#writer.flush();
  }

  /** Resolves with the number of lines lost. */
  async #writeBatch(bytes: Buffer, lines: number): Promise<number> {
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
      this.#report(undefined);
      return 0;
    } catch (error) {
      this.#report(error instanceof Error ? error : new Error(String(error)));
      return lines - count(bytes.subarray(0, written));
    }
  }

  /**
   * The file, opened for this batch alone, so that it may be moved or removed in between. It is set aside before a
   * batch that would make it too large, not after it: the reader has had a second to come to its end.
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

  #report(error: Error | undefined): void {
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
