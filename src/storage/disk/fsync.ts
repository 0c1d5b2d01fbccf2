// Makes changes survive a power failure (fsync). A directory holds the names of its files.
import { closeSync, fsyncSync, openSync } from "node:fs";
import { open } from "node:fs/promises";

/** Names created, renamed or removed in the directory are on the disk afterwards. Rejects with the system's error. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * The same for the bytes of a file or the names in a directory. Blocks: only for starts and in threads of their own.
 */
export function syncBlocking(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
