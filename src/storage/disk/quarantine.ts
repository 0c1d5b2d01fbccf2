// Stored bytes that turned out wrong, kept for people: which bits have changed tells whether the disk, the memory or a
// program is at fault. Nothing reads them, and the oldest are deleted when there are too many.
import { mkdir, readdir, rename, stat, unlink } from "node:fs/promises";
import { basename } from "node:path";
import type { Digest } from "../../oci/digest.ts";
import { systemCode } from "../store-failure.ts";
import { isQuarantineName, type Layout } from "./layout.ts";

/** Files kept at most. */
const maxFiles = 32;

export class Quarantine {
  readonly #layout: Layout;
  readonly #maxBytes: () => number;
  /** Sizes in bytes by file name, the oldest first. */
  readonly #files = new Map<string, number>();

  /** `maxBytes`: of all files together; a larger file is deleted at once. */
  constructor(layout: Layout, maxBytes: () => number) {
    this.#layout = layout;
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the files kept. */
  get bytes(): number {
    let bytes = 0;
    for (const size of this.#files.values()) bytes += size;
    return bytes;
  }

  get files(): number {
    return this.#files.size;
  }

  /** Finds the files of earlier runs. Rejects with the system's error. */
  async load(): Promise<void> {
    this.#files.clear();
    const found: { readonly name: string; readonly size: number; readonly since: number }[] = [];
    for (const name of await namesIn(this.#layout.quarantine)) {
      if (!isQuarantineName(name)) continue;
      const { size, ctimeMs } = await stat(this.#path(name));
      found.push({ name, size, since: ctimeMs });
    }
    for (const { name, size } of found.sort((a, b) => a.since - b.since)) this.#files.set(name, size);
    await this.#shrink();
  }

  /**
   * Moves the blob here; false when there is no file. Rejects with the system's error; then the file stays in its
   * place.
   */
  async add(digest: Digest): Promise<boolean> {
    const from = this.#layout.blob(digest);
    const to = this.#layout.quarantined(digest);
    try {
      const { size } = await stat(from);
      if (size > this.#maxBytes()) await unlink(from);
      else {
        await mkdir(this.#layout.quarantine, { recursive: true, mode: 0o700 });
        await rename(from, to);
        this.#files.delete(basename(to));
        this.#files.set(basename(to), size);
      }
    } catch (error) {
      if (systemCode(error) === "ENOENT") return false;
      throw error;
    }
    await this.#shrink();
    return true;
  }

  async #shrink(): Promise<void> {
    for (const name of [...this.#files.keys()]) {
      if (this.bytes <= this.#maxBytes() && this.#files.size <= maxFiles) return;
      await unlink(this.#path(name)).catch((error: unknown) => {
        if (systemCode(error) !== "ENOENT") throw error;
      });
      this.#files.delete(name);
    }
  }

  #path(name: string): string {
    return `${this.#layout.quarantine}/${name}`;
  }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}
