// Verified blobs as files named by their digest, and the spool they come from, under one cache directory.
import type { Dir, Stats } from "node:fs";
import {
  access,
  constants,
  mkdir,
  open,
  opendir,
  readdir,
  rmdir,
  stat,
  statfs,
  unlink,
} from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Digest, DigestAlgorithm } from "../../oci/digest.ts";
import {
  type BlobInfo,
  type BlobStore,
  type BlobWriter,
  type KeptBlob,
  type StoredBlob,
  StoreError,
} from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import { sqliteCode, sqliteCodes, storeFailure, systemCode } from "../store-failure.ts";
import { type DirectoryLock, lockDirectory } from "./directory-lock.ts";
import { syncDirectory } from "./fsync.ts";
import { digestAlgorithms, digestOfName, Layout, shards } from "./layout.ts";
import { Quarantine } from "./quarantine.ts";
import { DiskReader } from "./reader.ts";
import { SpoolDirectory } from "./spool-directory.ts";

export interface DiskStoreOptions {
  /** Created, with mode 0700, when missing. Its file system must be one for all of it. */
  readonly directory: string;
  /** Bytes of wrong blobs kept for inspection at most. */
  readonly quarantineBytes?: number;
  /** Bytes of unfinished blobs kept for a later fill at most. */
  readonly keptBytes?: number;
  /** Wall clock, for the age of what is kept; left out: the machine's. */
  readonly clock?: Clock;
}

/** Of `quarantineBytes`, and of `keptBytes`, where nothing is said. */
const defaultShare = 256 * 1024 * 1024;

/** The file system that holds the cache. */
export interface FreeSpace {
  /** Bytes an unprivileged process may still write. */
  readonly free: number;
  readonly total: number;
  /** Inodes; undefined where the file system makes them as it needs them. */
  readonly files: { readonly free: number; readonly total: number } | undefined;
}

/** Bytes and inodes that a start on a full disk makes free, and blobs it looks at for that. */
const roomToStart = 16 * 1024 * 1024;
const filesToStart = 16;
const mostLookedAt = 1_000;
/** With less than these, nothing can be stored. */
const noRoom = 64 * 1024;
const noFiles = 4;

/** What the disk has no more of, for people; undefined while there is some. */
export function fullness({ free, total, files }: FreeSpace): string | undefined {
  if (free < Math.min(noRoom, total / 4)) return `the disk is full: ${free} of ${total} bytes are free`;
  if (files !== undefined && files.free < Math.min(noFiles, files.total / 4))
    return `the disk is full: ${files.free} of ${files.total} inodes are free`;
  return undefined;
}

/**
 * Locks the directory, creates what is missing and removes what fills of a killed process left in the spool.
 * StoreError `unavailable` (or `no_space`, `io`) names the directory and what to do about it.
 */
export async function openDiskStore(options: DiskStoreOptions): Promise<DiskStore> {
  const layout = new Layout(options.directory);
  let lock: DirectoryLock | undefined;
  try {
    await mkdir(layout.spool, { recursive: true, mode: 0o700 });
    // The spool of a running process must not be swept by a second one.
    lock = lockDirectory(layout.directory, layout.spoolLock);
    const created = await makeBlobDirectories(layout);
    const spool = new SpoolDirectory(layout, options.keptBytes ?? defaultShare, options.clock ?? Date.now);
    const quarantine = new Quarantine(layout, options.quarantineBytes ?? defaultShare);
    await quarantine.load();
    const { dev, ino } = await stat(layout.directory);
    await spool.load();
    const swept = await spool.sweep();
    const store = new DiskStore(layout, spool, quarantine, lock, { dev, ino }, created, swept);
    await store.withRoom(() => checkSpool(layout));
    return store;
  } catch (error) {
    lock?.release();
    const failure = storeFailure(error, `use the cache directory ${options.directory}`);
    if (failure === error) throw failure;
    const advice = "check that it is a directory on a writable disk and belongs to this user";
    throw new StoreError(failure.code, `${failure.message} (${advice})`, { cause: error });
  }
}

/** Which directory it is: a path may lead to another one later. */
interface Place {
  readonly dev: number;
  readonly ino: number;
}

export class DiskStore implements BlobStore {
  readonly source = "disk";
  /** Spool files found and removed at start: fills cut by a crash. */
  readonly swept: number;
  /** The directory for blobs was not there: whatever an index says is stale. */
  readonly created: boolean;
  /** Blobs removed because the disk was full at the start. */
  shed = 0;
  readonly #layout: Layout;
  readonly #spool: SpoolDirectory;
  readonly #quarantine: Quarantine;
  #lock: DirectoryLock;
  #place: Place;

  constructor(
    layout: Layout,
    spool: SpoolDirectory,
    quarantine: Quarantine,
    lock: DirectoryLock,
    place: Place,
    created: boolean,
    swept: number,
  ) {
    this.#layout = layout;
    this.#spool = spool;
    this.#lock = lock;
    this.#quarantine = quarantine;
    this.#place = place;
    this.created = created;
    this.swept = swept;
  }

  async open(digest: Digest): Promise<StoredBlob | undefined> {
    try {
      const handle = await open(this.#layout.blob(digest), "r");
      try {
        const stats = await handle.stat();
        if (!stats.isFile()) throw new StoreError("io", `${digest} is not a file in the cache directory`);
        return new DiskReader(handle, stats.size);
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw storeFailure(error, `open ${digest}`);
      await this.#requireStore();
      return undefined;
    }
  }

  /** With `size`, StoreError `no_space` when the file system has less; space other fills will need is not counted. */
  async create(size?: number): Promise<BlobWriter> {
    if (size !== undefined) {
      const { free } = await this.freeSpace();
      if (free < size)
        throw new StoreError("no_space", `cannot store ${size} bytes: the disk has ${free} bytes free`);
    }
    return await this.#spool.create();
  }

  get mostKept(): number {
    return this.#spool.mostKept;
  }

  resume(digest: Digest, upstream: string): Promise<KeptBlob | undefined> {
    return this.#spool.resume(digest, upstream);
  }

  /** Bytes of everything in the spool directory, also of removed files that are still read. */
  get spoolBytes(): number {
    return this.#spool.bytes;
  }

  /**
   * Removes what is in the spool, belongs to no fill and is not kept for one, or not any longer; resolves with the
   * number of files. Rejects with StoreError.
   */
  sweep(): Promise<number> {
    return this.#spool.sweep();
  }

  /**
   * Unlinks the blob; readers keep what they have open. Delete first and tell the index after: a crash between
   * leaves a row without a file, which costs nothing, and on a full disk the row could not be removed first.
   */
  async delete(digest: Digest): Promise<boolean> {
    try {
      const path = this.#layout.blob(digest);
      await unlink(path);
      // An empty directory keeps an inode from those who need one.
      await rmdir(dirname(path)).catch(() => {});
      return true;
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw storeFailure(error, `delete ${digest}`);
      await this.#requireStore();
      return false;
    }
  }

  async quarantine(digest: Digest): Promise<boolean> {
    try {
      if (await this.#quarantine.add(digest)) return true;
    } catch (error) {
      throw storeFailure(error, `quarantine ${digest}`);
    }
    await this.#requireStore();
    return false;
  }

  /** What the quarantine holds: files, and their bytes, which are no part of what `list` gives. */
  get quarantined(): { readonly files: number; readonly bytes: number } {
    const { files, bytes } = this.#quarantine;
    return { files, bytes };
  }

  /** Streams directory by directory; a blob deleted meanwhile may be left out. Foreign names are not blobs. */
  async *list(): AsyncGenerator<BlobInfo> {
    for (const algorithm of digestAlgorithms)
      for (const shard of shards) yield* this.listShard(algorithm, shard);
  }

  /** The blobs whose hex starts with the two digits of `shard`: 1/256 of an algorithm's. */
  async *listShard(algorithm: DigestAlgorithm, shard: string): AsyncGenerator<BlobInfo> {
    const path = this.#layout.shard(algorithm, shard);
    const directory = await openDirectory(path);
    if (directory === undefined) return this.#requireStore();
    try {
      for await (const entry of directory) {
        const digest = digestOfName(algorithm, shard, entry.name);
        if (digest === undefined || !entry.isFile()) continue;
        const stats = await statIfThere(this.#layout.blob(digest));
        if (stats) yield { digest, size: stats.size, modifiedAt: Math.trunc(stats.mtimeMs) };
      }
    } catch (error) {
      throw storeFailure(error, `list ${path}`);
    }
  }

  async freeSpace(): Promise<FreeSpace> {
    try {
      const { bavail, blocks, bsize, files, ffree } = await statfs(this.#layout.spool);
      const inodes = files > 0 ? { free: ffree, total: files } : undefined;
      return { free: bavail * bsize, total: blocks * bsize, files: inodes };
    } catch (error) {
      throw storeFailure(error, "read the free space of the cache directory");
    }
  }

  /**
   * What a start cannot do without, also on a full disk: when `work` fails for want of room, what is worth least goes
   * until there is some, and it is tried once more. Rejects as `work` does, saying what is full.
   */
  async withRoom<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!isForWantOfRoom(error)) throw error;
    }
    this.shed += await this.#shed();
    try {
      return await work();
    } catch (error) {
      const failure = storeFailure(error, "start");
      const full = fullness(await this.freeSpace());
      throw new StoreError(
        failure.code,
        full === undefined ? failure.message : `${failure.message}; ${full}`,
        {
          cause: error,
        },
      );
    }
  }

  /**
   * Indexes moved aside, then the blobs stored first among the first thousand, which the index will miss: there is room
   * for it to be opened, and for eviction to know better. Resolves with the blobs removed.
   */
  async #shed(): Promise<number> {
    const aside = new RegExp(`^${basename(this.#layout.index)}\\.(?:corrupt-|copy\\.part$)`);
    for (const name of await readdir(this.#layout.directory))
      if (aside.test(name)) await unlink(this.#layout.beside(name));
    const found: BlobInfo[] = [];
    for await (const blob of this.list()) if (found.push(blob) === mostLookedAt) break;
    found.sort((a, b) => a.modifiedAt - b.modifiedAt);
    let removed = 0;
    for (const { digest } of found) {
      const { free, total, files } = await this.freeSpace();
      const enough = free >= Math.min(roomToStart, total / 4);
      if (enough && (files === undefined || files.free >= Math.min(filesToStart, files.total / 4))) break;
      if (await this.delete(digest)) removed++;
    }
    return removed;
  }

  /**
   * Whether the directory can be used: it is there and can be written to. False when it is the one that was opened; true
   * when it is another, or was emptied, and has been taken over and furnished. Rejects with StoreError when it is gone,
   * read-only, another process's, or the bare mount point of a file system that was mounted.
   */
  async probe(): Promise<boolean> {
    const layout = this.#layout;
    const { directory } = layout;
    try {
      const { dev, ino } = await stat(directory);
      const blobs = await statIfThere(layout.blobs);
      const same = dev === this.#place.dev && ino === this.#place.ino;
      if (same && blobs !== undefined && (await statIfThere(layout.spool)) !== undefined) {
        await access(layout.spool, constants.W_OK);
        await access(layout.blobs, constants.W_OK);
        return false;
      }
      if (blobs === undefined && dev !== this.#place.dev && (await stat(join(directory, ".."))).dev === dev)
        throw new StoreError("unavailable", `nothing is mounted at ${directory}, and something was`);
      await access(directory, constants.W_OK);
      await mkdir(layout.spool, { recursive: true, mode: 0o700 });
      // The file that was locked is not in this directory.
      this.#lock.release();
      this.#lock = lockDirectory(directory, layout.spoolLock);
      await makeBlobDirectories(layout);
      await checkSpool(layout);
      await this.#quarantine.load();
      await this.#spool.load();
      this.#place = { dev, ino };
      return true;
    } catch (error) {
      throw storeFailure(error, `use the cache directory ${directory}`);
    }
  }

  /** A blob is absent only from a store that is there: an unmounted disk must not look like an empty cache. */
  async #requireStore(): Promise<void> {
    try {
      await stat(this.#layout.blobs);
    } catch (error) {
      throw storeFailure(error, "find the cache directory");
    }
  }

  /** When the blob was stored, in milliseconds since the epoch; undefined when it is not here. */
  async storedAt(digest: Digest): Promise<number | undefined> {
    try {
      const stats = await statIfThere(this.#layout.blob(digest));
      return stats && Math.trunc(stats.mtimeMs);
    } catch (error) {
      throw storeFailure(error, `look for ${digest}`);
    }
  }

  /** Lets another process have the directory. Open readers and writers are the caller's to close first. */
  async close(): Promise<void> {
    this.#lock.release();
  }
}

/** SQLite says of a log that it has no inode for only that it cannot open it. */
function isForWantOfRoom(error: unknown): boolean {
  const cause = error instanceof StoreError ? error.cause : error;
  return storeFailure(error, "start").code === "no_space" || sqliteCode(cause) === sqliteCodes.cantOpen;
}

/** True when the blobs' own directory had to be made. */
async function makeBlobDirectories(layout: Layout): Promise<boolean> {
  const first = await mkdir(layout.blobs, { recursive: true, mode: 0o700 });
  for (const algorithm of digestAlgorithms)
    await mkdir(layout.algorithm(algorithm), { recursive: true, mode: 0o700 });
  await syncDirectory(layout.blobs);
  await syncDirectory(layout.directory);
  return first !== undefined;
}

/** Proves what every fill relies on: that a file can be made here, and renamed into the store. */
async function checkSpool(layout: Layout): Promise<void> {
  const probe = layout.spoolFile(layout.newSpool());
  const handle = await open(probe, "wx", 0o600);
  await handle.close();
  await unlink(probe);
  const [spool, blobs] = [await stat(layout.spool), await stat(layout.blobs)];
  if (spool.dev !== blobs.dev)
    throw new StoreError(
      "unavailable",
      `${layout.spool} and ${layout.blobs} are on different file systems: mount the cache directory as a whole`,
    );
}

async function openDirectory(path: string): Promise<Dir | undefined> {
  try {
    return await opendir(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw storeFailure(error, `list ${path}`);
  }
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
