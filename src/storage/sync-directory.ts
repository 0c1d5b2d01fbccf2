import { open } from "node:fs/promises";

/** Makes names created, renamed or removed in the directory survive a power failure (fsync). */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
