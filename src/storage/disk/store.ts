// The blob store on disk: verified blobs as files named by their digest, and the spool, under one cache directory.
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
import { type Clock, type Pause, realPause } from "../../ports/clock.ts";
import { sqliteCode, sqliteCodes, storeFailure, systemCode } from "../store-failure.ts";
import { type DirectoryLock, lockDirectory } from "./directory-lock.ts";
import { syncDirectory } from "./fsync.ts";
import { digestAlgorithms, digestOfName, Layout, shards } from "./layout.ts";
import { Quarantine } from "./quarantine.ts";
import { openStored } from "./reader.ts";
import { SpoolDirectory } from "./spool-directory.ts";
import { awaitWorkers } from "./workers-lock.ts";

export interface DiskStoreOptions {
  /** Created, with mode 0700, when missing. Its file system must be one for all of it. */
  readonly directory: string;
  /** Bytes of quarantined blobs at most; read at every use. */
  readonly quarantineBytes?: () => number;
  /** Bytes of unfinished blobs kept for a later fill at most; read at every use. */
  readonly keptBytes?: () => number;
  /** Wall clock, for the age of what is kept. Default: the machine's. */
  readonly clock?: Clock;
  /** Between looks for workers of a process that was killed. Default: real time. */
  readonly pause?: Pause;
}

/** Default of `quarantineBytes` and `keptBytes`. */
const defaultShare = (): number => 256 * 1024 * 1024;

/** The file system that holds the cache. */
export interface FreeSpace {
  /** Bytes an unprivileged process may still write. */
  readonly free: number;
  readonly total: number;
  /** Inodes; undefined for a file system without a fixed number of them. */
  readonly files: { readonly free: number; readonly total: number } | undefined;
}

/** Bytes and inodes that a start on a full disk frees, and blobs it considers for that. */
const roomToStart = 16 * 1024 * 1024;
const filesToStart = 16;
const maxConsidered = 1_000;
/** Bytes and inodes with less of which nothing can be stored. */
const minFree = 64 * 1024;
const minFreeFiles = 4;

/** What is used up, bytes or inodes, for people; undefined while there are enough of both. */
export function fullness({ free, total, files }: FreeSpace): string | undefined {
  if (free < Math.min(minFree, total / 4)) return `the disk is full: ${free} of ${total} bytes are free`;
  if (files !== undefined && files.free < Math.min(minFreeFiles, files.total / 4))
    return `the disk is full: ${files.free} of ${files.total} inodes are free`;
  return undefined;
}

/** Of the file system that holds a directory. Rejects with the system's error. */
export async function freeSpaceAt(directory: string): Promise<FreeSpace> {
  const { bavail, blocks, bsize, files, ffree } = await statfs(directory);
  const inodes = files > 0 ? { free: ffree, total: files } : undefined;
  return { free: bavail * bsize, total: blocks * bsize, files: inodes };
}

/**
 * Locks the directory, waits until workers of a killed process have ended too, creates what is missing and removes what
 * fills of it left in the spool. Rejects with StoreError `unavailable`, `no_space` or `io`, whose message names the
 * directory and what to do.
 */
export async function openDiskStore(options: DiskStoreOptions): Promise<DiskStore> {
  const layout = new Layout(options.directory);
  let lock: DirectoryLock | undefined;
  try {
    await mkdir(layout.spool, { recursive: true, mode: 0o700 });
    // A second process must not sweep the spool of this one.
    lock = lockDirectory(layout.directory, layout.spoolLock);
    await awaitWorkers(layout.directory, layout.workersLock, options.pause ?? realPause);
    const created = await makeBlobDirectories(layout);
    const spool = new SpoolDirectory(layout, options.keptBytes ?? defaultShare, options.clock ?? Date.now);
    const quarantine = new Quarantine(layout, options.quarantineBytes ?? defaultShare);
    await quarantine.load();
    const { dev, ino } = await stat(layout.directory);
    await spool.load();
    const swept = await spool.sweep();
    const identity = { dev, ino };
    const store = new DiskStore({ layout, spool, quarantine, lock, identity, created, swept });
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

/** Identifies a directory: its path may lead to another one later. */
interface DirectoryIdentity {
  readonly dev: number;
  readonly ino: number;
}

interface OpenedStore {
  readonly layout: Layout;
  readonly spool: SpoolDirectory;
  readonly quarantine: Quarantine;
  readonly lock: DirectoryLock;
  readonly identity: DirectoryIdentity;
  readonly created: boolean;
  readonly swept: number;
}

export class DiskStore implements BlobStore {
  readonly source = "disk";
  /** Spool files removed at the start: fills that a crash has ended. */
  readonly swept: number;
  /** The directory for blobs was missing, so an index of its content is stale. */
  readonly created: boolean;
  /** Blobs removed because the disk was full at the start. */
  shed = 0;
  readonly #layout: Layout;
  readonly #spool: SpoolDirectory;
  readonly #quarantine: Quarantine;
  #lock: DirectoryLock;
  #identity: DirectoryIdentity;

  constructor({ layout, spool, quarantine, lock, identity, created, swept }: OpenedStore) {
    this.#layout = layout;
    this.#spool = spool;
    this.#lock = lock;
    this.#quarantine = quarantine;
    this.#identity = identity;
    this.created = created;
    this.swept = swept;
  }

  async open(digest: Digest): Promise<StoredBlob | undefined> {
    const blob = await openStored(this.#layout, digest);
    if (blob === undefined) await this.#requireStore();
    return blob;
  }

  /**
   * With `size`, rejects with StoreError `no_space` when less is free; the space other fills will need does not count.
   */
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
   * Unlinks the blob; open readers keep it. To be called before its row is removed: a crash in between leaves a row
   * without a file, which does no harm, and on a full disk the row could not be removed first.
   */
  async delete(digest: Digest): Promise<boolean> {
    try {
      const path = this.#layout.blob(digest);
      await unlink(path);
      // An empty directory would take an inode.
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

  /** Files in the quarantine and their bytes; `list` does not have them. */
  get quarantined(): { readonly files: number; readonly bytes: number } {
    const { files, bytes } = this.#quarantine;
    return { files, bytes };
  }

  /** Directory by directory, without files of other names. A blob deleted meanwhile may be missing. */
  async *list(): AsyncGenerator<BlobInfo> {
    for (const algorithm of digestAlgorithms)
      for (const shard of shards) yield* this.listShard(algorithm, shard);
  }

  /** The blobs whose hex begins with the two digits of `shard`: 1/256 of an algorithm's. */
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
      return await freeSpaceAt(this.#layout.spool);
    } catch (error) {
      throw storeFailure(error, "read the free space of the cache directory");
    }
  }

  /**
   * Does work that a start needs even on a full disk: when it fails because there is no space, what is worth least is
   * deleted and it is tried once more. Rejects as `work` does, with what is full in the message.
   */
  async withRoom<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!isNoSpace(error)) throw error;
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
   * Deletes indexes moved aside, then the oldest of the first thousand blobs, though their rows stay in the index. Only
   * until the index can be opened: eviction then chooses better. Resolves with the number of blobs deleted.
   */
  async #shed(): Promise<number> {
    const aside = new RegExp(`^${basename(this.#layout.index)}\\.(?:corrupt-|copy\\.part$)`);
    for (const name of await readdir(this.#layout.directory))
      if (aside.test(name)) await unlink(this.#layout.beside(name));
    const found: BlobInfo[] = [];
    for await (const blob of this.list()) if (found.push(blob) === maxConsidered) break;
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
   * Checks that the directory is there and can be written to. False when it is the one that was opened. True when it is
   * another, or was emptied: then it is locked and its folders are created. Rejects with StoreError when it is missing,
   * read-only, used by another process, or the bare mount point of a file system that was mounted before.
   */
  async probe(): Promise<boolean> {
    const layout = this.#layout;
    const { directory } = layout;
    try {
      const { dev, ino } = await stat(directory);
      const blobs = await statIfThere(layout.blobs);
      const same = dev === this.#identity.dev && ino === this.#identity.ino;
      if (same && blobs !== undefined && (await statIfThere(layout.spool)) !== undefined) {
        await access(layout.spool, constants.W_OK);
        await access(layout.blobs, constants.W_OK);
        return false;
      }
      if (
        blobs === undefined &&
        dev !== this.#identity.dev &&
        (await stat(join(directory, ".."))).dev === dev
      )
        throw new StoreError("unavailable", `nothing is mounted at ${directory}, and something was`);
      await access(directory, constants.W_OK);
      await mkdir(layout.spool, { recursive: true, mode: 0o700 });
      // The locked file is in the directory of before.
      this.#lock.release();
      this.#lock = lockDirectory(directory, layout.spoolLock);
      await makeBlobDirectories(layout);
      await checkSpool(layout);
      await this.#quarantine.load();
      await this.#spool.load();
      this.#identity = { dev, ino };
      return true;
    } catch (error) {
      throw storeFailure(error, `use the cache directory ${directory}`);
    }
  }

  /** A blob is absent only when the store is there: an unmounted disk must not look like an empty cache. */
  async #requireStore(): Promise<void> {
    try {
      await stat(this.#layout.blobs);
    } catch (error) {
      throw storeFailure(error, "find the cache directory");
    }
  }

  /** What the file system says of the blob; undefined when it is not here. */
  async info(digest: Digest): Promise<BlobInfo | undefined> {
    try {
      const stats = await statIfThere(this.#layout.blob(digest));
      return stats && { digest, size: stats.size, modifiedAt: Math.trunc(stats.mtimeMs) };
    } catch (error) {
      throw storeFailure(error, `look for ${digest}`);
    }
  }

  /** Unlocks the directory. The caller closes open readers and writers first. */
  async close(): Promise<void> {
    this.#lock.release();
  }
}

/** Without a free inode SQLite only says that it cannot open the log. */
function isNoSpace(error: unknown): boolean {
  const cause = error instanceof StoreError ? error.cause : error;
  return storeFailure(error, "start").code === "no_space" || sqliteCode(cause) === sqliteCodes.cantOpen;
}

/** True when the directory of the blobs was missing. */
async function makeBlobDirectories(layout: Layout): Promise<boolean> {
  const first = await mkdir(layout.blobs, { recursive: true, mode: 0o700 });
  for (const algorithm of digestAlgorithms)
    await mkdir(layout.algorithm(algorithm), { recursive: true, mode: 0o700 });
  await syncDirectory(layout.blobs);
  await syncDirectory(layout.directory);
  return first !== undefined;
}

/** Checks what every fill needs: that a file can be created here, and renamed into the store. */
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
