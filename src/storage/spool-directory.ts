// The spool directory: which of its files are being written, how many bytes it holds, and what in it is nobody's. A file
// that no writer knows is what a crash, or a failed removal, has left: it is swept, also while the process runs.
import type { Stats } from "node:fs";
import { open, readdir, stat, unlink } from "node:fs/promises";
import { DiskWriter } from "./disk-writer.ts";
import { isSpoolName, type Layout } from "./layout.ts";
import { storeFailure, systemCode } from "./store-failure.ts";

export class SpoolDirectory {
  readonly #layout: Layout;
  /** By name: from before the file is made until its space is free, or a blob's. Undefined before it is made. */
  readonly #writers = new Map<string, DiskWriter | undefined>();
  /** Bytes of files that are nobody's and could not be removed, as of the last sweep. */
  #left = 0;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Bytes of files under way, of removed ones that somebody still reads, and of those that could not be removed. */
  get bytes(): number {
    let bytes = this.#left;
    for (const writer of this.#writers.values()) bytes += writer?.written ?? 0;
    return bytes;
  }

  /** Rejects with StoreError. */
  async create(): Promise<DiskWriter> {
    const name = this.#layout.newSpool();
    const path = this.#layout.spoolFile(name);
    const over = (): void => void this.#writers.delete(name);
    this.#writers.set(name, undefined);
    try {
      const writer = new DiskWriter(await open(path, "wx+", 0o600), path, this.#layout, over);
      this.#writers.set(name, writer);
      return writer;
    } catch (error) {
      over();
      throw storeFailure(error, "create a spool file");
    }
  }

  /**
   * Removes the files that are nobody's; resolves with their number. One that cannot be removed is counted in `bytes`
   * and tried again by the next sweep. Rejects with StoreError when the directory cannot be read.
   */
  async sweep(): Promise<number> {
    let [swept, left] = [0, 0];
    for (const name of await this.#names()) {
      if (this.#writers.has(name)) continue;
      const path = this.#layout.spoolFile(name);
      try {
        await unlink(path);
        swept++;
      } catch (error) {
        if (systemCode(error) !== "ENOENT") left += await sizeOf(path);
      }
    }
    this.#left = left;
    return swept;
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#layout.spool)).filter(isSpoolName);
    } catch (error) {
      throw storeFailure(error, "read the spool directory");
    }
  }
}

async function sizeOf(path: string): Promise<number> {
  const stats: Stats | undefined = await stat(path).catch(() => undefined);
  return stats?.size ?? 0;
}
