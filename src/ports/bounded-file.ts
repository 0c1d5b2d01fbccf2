// A small file, of which nobody knows how large it is.
import type { FileHandle } from "node:fs/promises";

/** UTF-8 text of a file; undefined when it has more than `limit` bytes. */
export async function readAtMost(handle: FileHandle, limit: number): Promise<string | undefined> {
  const buffer = Buffer.alloc(limit + 1);
  let length = 0;
  while (length <= limit) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) return buffer.toString("utf8", 0, length);
    length += bytesRead;
  }
  return undefined;
}
