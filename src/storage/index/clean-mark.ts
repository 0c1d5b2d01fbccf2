// A file that has one name only between an orderly close of the index and its next opening, and another while the index
// is used. Not a row in the index: renaming a file needs no space, so that a node starts on a full disk, where eviction is
// wanted most. Its time says up to when everything is known to have reached the disk.
import { closeSync, existsSync, openSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { syncNow } from "../disk/fsync.ts";
import type { Layout } from "../disk/layout.ts";

export interface CleanMark {
  /** The last close was an orderly one. */
  readonly clean: boolean;
  /** What is older, in milliseconds since the epoch, no crash has torn; 0 when that is not known. */
  readonly since: number;
}

/** Afterwards the index counts as being used, whatever happens to the power. `now` in milliseconds since the epoch. */
export function takeCleanMark(layout: Layout, now: number): CleanMark {
  const clean = existsSync(layout.cleanMark);
  if (clean) {
    renameSync(layout.cleanMark, layout.usedMark);
    syncNow(layout.directory);
  }
  const since = statSync(layout.usedMark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (since === 0) touchUsedMark(layout, now);
  return { clean, since };
}

/** Everything of before `now` is on the disk, though the index is used on. On a full disk there may be no mark. */
export function touchUsedMark(layout: Layout, now: number): void {
  try {
    closeSync(openSync(layout.usedMark, "a", 0o600));
    utimesSync(layout.usedMark, now / 1000, now / 1000);
  } catch {
    // The older time is right too: more is hashed again after a crash.
  }
}

/** To be called when everything else is on the disk. */
export function setCleanMark(layout: Layout, now: number): void {
  closeSync(openSync(layout.cleanMark, "w", 0o600));
  utimesSync(layout.cleanMark, now / 1000, now / 1000);
  rmSync(layout.usedMark, { force: true });
}
