// A file that is there only between an orderly close of the index and its next opening. Not a row in the index:
// taking a file away needs no space, so that a node starts on a full disk, where eviction is wanted most.
import { closeSync, existsSync, fsyncSync, openSync, unlinkSync } from "node:fs";
import type { Layout } from "./layout.ts";

/** True when the last close was an orderly one. Afterwards the mark is gone, whatever happens to the power. */
export function takeCleanMark(layout: Layout): boolean {
  if (!existsSync(layout.cleanMark)) return false;
  unlinkSync(layout.cleanMark);
  const directory = openSync(layout.directory, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
  return true;
}

/** To be called when everything else is on the disk. */
export function setCleanMark(layout: Layout): void {
  closeSync(openSync(layout.cleanMark, "w", 0o600));
}
