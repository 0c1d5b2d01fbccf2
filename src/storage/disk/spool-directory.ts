// The spool directory: which of its files are being written, which are kept for a later fill, and how many bytes it
// holds. Any other file is left from a crash or a failed removal, and is swept, also while the process runs.
import { type FileHandle, open, readdir, stat, unlink, writeFile } from "node:fs/promises";
import type { Digest } from "../../oci/digest.ts";
import type { KeptBlob, KeptRecord } from "../../ports/blobs.ts";
import { type Clock, recordAge } from "../../ports/clock.ts";
import { storeFailure, systemCode } from "../store-failure.ts";
import { type KeptSpool, readKeptSpool, writeKeptSpool } from "./kept-record.ts";
import { isSpoolName, type Layout, recordName, spoolOf } from "./layout.ts";
import { DiskWriter, type SpoolOwner } from "./writer.ts";

/** Spools kept at most; with their records, twice as many inodes. */
const maxKeptFiles = 64;
/** Milliseconds a spool is kept: a client that repeats a pull does so sooner. */
const maxKeptAge = 3600_000;
/** Bytes of one kept spool at most: all of them are hashed before a waiting client gets the first byte. */
const maxKeptSize = 1024 * 1024 * 1024;

interface KeptFile extends KeptSpool {
  readonly name: string;
}

export class SpoolDirectory {
  readonly #layout: Layout;
  readonly #keptBytes: () => number;
  readonly #clock: Clock;
  /**
   * By name, from before the file is created until it is deleted, committed or kept. Undefined before it is created.
   */
  readonly #writers = new Map<string, DiskWriter | undefined>();
  /** Spools that have no writer; the oldest first. */
  readonly #kept = new Map<Digest, KeptFile>();
  /** Bytes of orphaned files that the last sweep could not remove. */
  #orphanBytes = 0;

  /** `keptBytes`: of all kept spools together. */
  constructor(layout: Layout, keptBytes: () => number, clock: Clock) {
    this.#layout = layout;
    this.#keptBytes = keptBytes;
    this.#clock = clock;
  }

  /**
   * Bytes of files written or kept, of removed ones that still have readers, and of those that could not be removed.
   */
  get bytes(): number {
    let bytes = this.#orphanBytes + this.#keptSum;
    for (const writer of this.#writers.values()) bytes += writer?.extent ?? 0;
    return bytes;
  }

  get mostKept(): number {
    return Math.min(this.#keptBytes(), maxKeptSize);
  }

  get #keptSum(): number {
    let bytes = 0;
    for (const { offset } of this.#kept.values()) bytes += offset;
    return bytes;
  }

  /** Rejects with StoreError. */
  async create(): Promise<DiskWriter> {
    const name = this.#layout.newSpool();
    try {
      return await this.#write(name, "wx+", 0);
    } catch (error) {
      throw storeFailure(error, "create a spool file");
    }
  }

  async #write(name: string, flags: "wx+" | "r+", written: number): Promise<DiskWriter> {
    const path = this.#layout.spoolFile(name);
    this.#writers.set(name, undefined);
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, flags, 0o600);
      const owner: SpoolOwner = {
        // A file that was kept may have another writer by the time its first one is released.
        finished: () => this.#writers.get(name) === writer && this.#writers.delete(name),
        keep: (record, bytes) => this.#keep(name, record, bytes),
      };
      const writer = new DiskWriter(handle, path, this.#layout, owner, written);
      this.#writers.set(name, writer);
      return writer;
    } catch (error) {
      this.#writers.delete(name);
      throw error;
    }
  }

  // ---- kept files ---------------------------------------------------------------------------------------------

  async #keep(name: string, { at = this.#clock(), ...known }: KeptRecord, offset: number): Promise<void> {
    const kept = { record: { ...known, at }, offset, name };
    await writeFile(this.#recordFile(name), writeKeptSpool(kept), { flag: "wx", mode: 0o600 });
    await this.#forget(known.digest);
    this.#kept.set(known.digest, kept);
    this.#writers.delete(name);
    await this.#shrink();
  }

  /** Forgets those that are too old, and the oldest while they exceed a bound. */
  async #shrink(): Promise<void> {
    for (const [digest, { record }] of this.#kept) {
      const old = recordAge(record.at, this.#clock()) > maxKeptAge;
      if (old || this.#keptSum > this.#keptBytes() || this.#kept.size > maxKeptFiles)
        await this.#forget(digest);
    }
  }

  /** A file that cannot be removed is orphaned, and swept later. */
  async #forget(digest: Digest): Promise<void> {
    const kept = this.#kept.get(digest);
    if (kept === undefined) return;
    this.#kept.delete(digest);
    await unlink(this.#recordFile(kept.name)).catch(() => undefined);
    await unlink(this.#layout.spoolFile(kept.name)).catch(() => undefined);
  }

  /** See BlobStore. Rejects with StoreError. */
  async resume(digest: Digest, upstream: string): Promise<KeptBlob | undefined> {
    const kept = this.#kept.get(digest);
    if (kept === undefined || kept.record.upstream !== upstream) return undefined;
    if (recordAge(kept.record.at, this.#clock()) > maxKeptAge) {
      await this.#forget(digest);
      return undefined;
    }
    const { name, record, offset } = kept;
    try {
      // It has a writer before it is no longer kept, so that no sweep takes it in between.
      const writing = this.#write(name, "r+", offset);
      this.#kept.delete(digest);
      const writer = await writing;
      let unchanged = false;
      try {
        // From here on it is a spool like any other, should the process crash.
        await unlink(this.#recordFile(name));
        unchanged = (await stat(this.#layout.spoolFile(name))).size === offset;
      } finally {
        if (!unchanged) await writer.abort().finally(() => writer.release());
      }
      return unchanged ? { record, writer } : undefined;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      throw storeFailure(error, `go on with what was kept of ${digest}`);
    }
  }

  /** Finds what earlier runs have kept. Rejects with StoreError. */
  async load(): Promise<void> {
    this.#kept.clear();
    const found: KeptFile[] = [];
    for (const record of await this.#names()) {
      const name = spoolOf(record);
      if (record === name || this.#writers.has(name)) continue;
      const kept = await readKeptSpool(this.#layout.spoolFile(record), this.#layout.spoolFile(name));
      if (kept !== undefined) found.push({ ...kept, name });
    }
    // A crash may leave two of one digest: the later one counts.
    for (const kept of found.sort((a, b) => a.record.at - b.record.at)) {
      this.#kept.delete(kept.record.digest);
      this.#kept.set(kept.record.digest, kept);
    }
    await this.#shrink();
  }

  #recordFile(name: string): string {
    return this.#layout.spoolFile(recordName(name));
  }

  // ---- orphaned files -----------------------------------------------------------------------------------------

  /**
   * Removes orphaned files, and those kept for too long; resolves with the number of orphaned ones. A file that cannot
   * be removed counts in `bytes`, and the next sweep tries again. Rejects with StoreError when the directory cannot be
   * read.
   */
  async sweep(): Promise<number> {
    await this.#shrink();
    let [swept, orphanBytes] = [0, 0];
    for (const name of await this.#names()) {
      if (this.#isOwned(spoolOf(name))) continue;
      const path = this.#layout.spoolFile(name);
      try {
        await unlink(path);
        swept++;
      } catch (error) {
        if (systemCode(error) !== "ENOENT") orphanBytes += await sizeOf(path);
      }
    }
    this.#orphanBytes = orphanBytes;
    return swept;
  }

  #isOwned(spool: string): boolean {
    if (this.#writers.has(spool)) return true;
    for (const { name } of this.#kept.values()) if (name === spool) return true;
    return false;
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
  const stats = await stat(path).catch(() => undefined);
  return stats?.size ?? 0;
}
