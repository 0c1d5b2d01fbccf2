// From a blob reader to the client: one chunk is being written while the next is read.
import { type BlobReader, StoreError } from "../cache/ports.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Writes the bytes from `start` up to `end` (exclusive; undefined: to the end of the blob, whose size nobody
 * knows yet). Holds at most two pooled buffers. Rejects when the reader fails or the client leaves.
 */
export async function sendBody(
  exchange: Exchange,
  reader: BlobReader,
  start: number,
  end: number | undefined,
  pool: BufferPool,
): Promise<void> {
  let reading = pool.take();
  let written = pool.take();
  let writing: Promise<void> | undefined;
  try {
    for (let position = start; end === undefined || position < end; ) {
      const room = end === undefined ? reading.length : Math.min(reading.length, end - position);
      const chunk = await reader.read(
        position,
        room === reading.length ? reading : reading.subarray(0, room),
      );
      if (chunk.length === 0) {
        if (end === undefined) break;
        throw new StoreError("io", `the blob ended at ${position} of ${end} bytes`);
      }
      await writing;
      writing = exchange.write(chunk);
      writing.catch(() => {});
      position += chunk.length;
      [reading, written] = [written, reading];
    }
    await writing;
    writing = undefined;
  } finally {
    // A buffer the socket may still be sending from must not go to the next response.
    if (writing === undefined) {
      pool.give(reading);
      pool.give(written);
    }
  }
}
