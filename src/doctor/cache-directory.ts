// The cache directory: whether it can be written to, who uses it, what room and speed its disk has. Takes no lock, and writes
// files of its own that are deleted as they are opened: a mirror that runs there is not disturbed.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { type FileHandle, open, readdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Config } from "../config/config.ts";
import { cacheSizeWarning } from "../config/rules.ts";
import { Layout } from "../storage/disk/layout.ts";
import { freeSpaceAt, fullness } from "../storage/disk/store.ts";
import { type Finding, failed, ok, type Part, skipped, warning } from "./examination.ts";

/** Bytes that are written to measure the disk, by pieces, and the milliseconds after which no more are. */
const measured = 32 * 1024 * 1024;
const piece = 1024 * 1024;
const longestMeasure = 3_000;
/** Bytes a second: less than a gigabit link delivers twice over. */
const slowDisk = 50_000_000;
/** Share of inodes with less of which is warned. */
const fewInodes = 0.05;

export interface CacheOptions {
  readonly cache: Config["cache"];
  /** A mirror answers where the settings say that the ops listener is. */
  readonly mirrorRuns: boolean;
  /** The text of /proc/locks; injected by tests. */
  readonly locks?: () => string;
  /** Milliseconds, only goes forward. */
  readonly steady?: () => number;
}

export async function examineCache(part: Part, options: CacheOptions): Promise<void> {
  const { cache, mirrorRuns, locks, steady = () => performance.now() } = options;
  const { dir } = cache;
  const there = await part.check("directory", () => checkDirectory(dir));
  await part.check("holder", () => holderFinding(dir, mirrorRuns, holderOf(dir, locks)), { alone: true });
  const space = await part.check("space", () => checkSpace(there ?? dir, cache), { alone: true });
  await part.check("inodes", async () => await checkInodes(there ?? dir), { alone: true });
  await part.check(
    "speed",
    (signal) =>
      (space ?? 0) < 2 * measured
        ? skipped("there is too little room to measure it")
        : checkSpeed(there ?? dir, steady, signal),
    { alone: true },
  );
}

/** With the directory, or the nearest above it that is there: the mirror makes the rest. */
async function checkDirectory(dir: string) {
  const there = await nearest(dir);
  try {
    const handle = await openOwn(there);
    await handle.close();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOSPC") return ok(`${there} is there, and full`, there);
    return failed(`${there} cannot be written to (${code})`, directoryFix(code, there));
  }
  return ok(there === dir ? `${dir} can be written to` : `${dir} will be made in ${there}`, there);
}

/** A new file that nothing is left of once it is closed, however this command ends. */
async function openOwn(there: string): Promise<FileHandle> {
  const file = join(there, `.entrepot-doctor-${randomBytes(8).toString("hex")}`);
  const handle = await open(file, "wx", 0o600);
  try {
    await unlink(file);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return handle;
}

function directoryFix(code: string | undefined, there: string): string {
  if (code === "EROFS") return `Mount the file system of ${there} for writing.`;
  if (code === "ENOTDIR") return `Set cache.dir to a directory: ${there} is a file.`;
  return `Give ${there} to the user the mirror runs as, or set cache.dir to another directory.`;
}

/** What is there of the path, whatever it is. */
async function nearest(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    const stats = await stat(at).catch(() => undefined);
    if (stats !== undefined || at === dirname(at)) return at;
  }
}

/** A process that holds the lock of the directory, and its name where it can be known. */
interface Holder {
  readonly pid: number;
  readonly name: string | undefined;
  /** Whether it was seen to have the file open; a lock's number alone may be that of a file on another disk. */
  readonly isSeen: boolean;
}

/**
 * The process of this machine that uses the directory, as the kernel lists its locks (proc_locks(5)): trying the lock would
 * take it from a mirror that starts. Undefined when there is none, or the system has no such list.
 */
function holderOf(
  dir: string,
  locks: () => string = () => readFileSync("/proc/locks", "utf8"),
): () => Promise<Holder | undefined> {
  return async () => {
    const stats = await stat(new Layout(dir).spoolLock).catch(() => undefined);
    if (stats === undefined) return undefined;
    let text: string;
    try {
      text = locks();
    } catch {
      return undefined;
    }
    const lock = new RegExp(`^\\d+: POSIX +ADVISORY +WRITE +(\\d+) [0-9a-f]+:[0-9a-f]+:${stats.ino} `, "gm");
    for (const [, found] of text.matchAll(lock)) {
      const pid = Number(found);
      const isOpen = await hasOpen(pid, stats);
      if (isOpen !== false) return { pid, name: nameOf(pid), isSeen: isOpen === true };
    }
    return undefined;
  };
}

/** Whether the process has that very file open; undefined when that cannot be seen. */
async function hasOpen(
  pid: number,
  { dev, ino }: { readonly dev: number; readonly ino: number },
): Promise<boolean | undefined> {
  const directory = `/proc/${pid}/fd`;
  try {
    for (const name of await readdir(directory)) {
      const file = await stat(join(directory, name)).catch(() => undefined);
      if (file?.ino === ino && file.dev === dev) return true;
    }
    return false;
  } catch {
    return undefined;
  }
}

/** The process that uses the directory; undefined when none of this machine is seen to. */
export async function processIn(dir: string): Promise<number | undefined> {
  const { pid, isSeen } = (await holderOf(dir)()) ?? {};
  return isSeen ? pid : undefined;
}

function nameOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined;
  }
}

async function holderFinding(
  dir: string,
  mirrorRuns: boolean,
  find: () => Promise<Holder | undefined>,
): Promise<Finding> {
  const holder = await find();
  if (holder === undefined) return ok("no process of this machine uses it");
  const who = `process ${holder.pid}${holder.name === undefined ? "" : ` (${holder.name})`}`;
  if (mirrorRuns) return ok(`used by ${who}, and a mirror answers at opsListen`);
  if (!holder.isSeen)
    return warning(
      `${who} seems to use ${dir}, and no mirror answers where opsListen says; its open files cannot be seen`,
      "Run this as root, which tells whether it does.",
    );
  return failed(
    `${who} uses ${dir}, and no mirror answers where opsListen says`,
    "Stop that process, or set cache.dir to a directory of this mirror's own.",
  );
}

async function checkSpace(there: string, { dir, maxSize, keepFree }: Config["cache"]) {
  const space = await freeSpaceAt(there);
  const { free, total } = space;
  const seen = `${megabytes(free)} of ${megabytes(total)} are free`;
  const full = fullness({ free, total, files: undefined });
  if (full !== undefined) return failed(full, "Make room on the disk, or set cache.dir to another one.");
  const tooLarge = cacheSizeWarning({ dir, maxSize });
  if (tooLarge !== undefined) return warning(tooLarge, "Set cache.maxSize to less than the disk has.", free);
  if (free < total * keepFree)
    return warning(
      `${seen}, less than cache.keepFree (${Math.round(keepFree * 100)}%)`,
      "Make room: whatever else is on this disk leaves the cache less and less.",
      free,
    );
  return ok(seen, free);
}

async function checkInodes(there: string): Promise<Finding> {
  const { files, ...space } = await freeSpaceAt(there);
  if (files === undefined) return skipped("the file system has no fixed number of them");
  const seen = `${files.free} of ${files.total} are free`;
  const full = fullness({ ...space, free: space.total, files });
  if (full !== undefined) return failed(full, "Delete files, or make the file system anew with more inodes.");
  if (files.free < files.total * fewInodes)
    return warning(seen, "Delete files, or make the file system anew with more inodes: a blob takes one.");
  return ok(seen);
}

/** Writes as a fill does, and syncs as the commit of a blob does. */
async function checkSpeed(there: string, steady: () => number, signal: AbortSignal): Promise<Finding> {
  const handle = await openOwn(there);
  try {
    const bytes = randomBytes(piece);
    const began = steady();
    let written = 0;
    while (written < measured && steady() - began < longestMeasure && !signal.aborted)
      written += (await handle.write(bytes)).bytesWritten;
    await handle.sync();
    const speed = written / Math.max(0.001, (steady() - began) / 1000);
    const seen = `${Math.round(speed / 1e6)} MB/s, written and synced`;
    if (speed < slowDisk)
      return warning(seen, "Use a faster disk for cache.dir, or see what else keeps it busy.");
    return ok(seen);
  } finally {
    await handle.close();
  }
}

function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`;
}
