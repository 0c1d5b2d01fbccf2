// From a blob reader to the client: one chunk is being written while the next is read, unless many clients read.
import { type BlobReader, type Lent, StoreError } from "../ports/blobs.ts";
import { type BufferPool, largestBuffer } from "./buffer-pool.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Writes the bytes from `start` up to `end` (exclusive; undefined: to the end of the blob, whose size nobody
 * knows yet). Holds at most two lent buffers, and none while it is fed from memory. Rejects when the reader fails or
 * the client leaves.
 */
export async function sendBody(
  exchange: Exchange,
  reader: BlobReader,
  start: number,
  end: number | undefined,
  pool: BufferPool,
): Promise<void> {
  let writing: Promise<void> | undefined;
  for (let position = start; end === undefined || position < end; ) {
    // A fill is read late: what has come meanwhile goes out in one write.
    if (pool.busy || reader.arrived !== undefined) await writing;
    const lent = await readChunk(reader, position, end === undefined ? largestBuffer : end - position, pool);
    const { bytes } = lent;
    if (bytes.length === 0) {
      lent.giveBack(true);
      if (end === undefined) break;
      throw new StoreError("io", `the blob ended at ${position} of ${end} bytes`);
    }
    await writing?.catch((error: unknown) => {
      lent.giveBack(true);
      throw error;
    });
    writing = writeChunk(exchange, lent);
    // Looked at in the next turn or after the loop; until then a client that leaves is no unhandled rejection.
    writing.catch(() => {});
    position += bytes.length;
  }
  await writing;
}

async function readChunk(
  reader: BlobReader,
  position: number,
  wanted: number,
  pool: BufferPool,
): Promise<Lent> {
  const max = Math.min(wanted, largestBuffer);
  const lending = reader.lend?.(position, max);
  const lent = lending && (await lending);
  if (lent !== undefined) return lent;
  await reader.arrived?.(position);
  const buffer = pool.take(reader.arrived !== undefined);
  try {
    const scratch = max < buffer.length ? buffer.subarray(0, max) : buffer;
    const bytes = await reader.read(position, scratch);
    if (bytes.buffer === buffer.buffer)
      return { bytes, giveBack: (sent) => (sent ? pool.give(buffer) : pool.lost(buffer)) };
    pool.give(buffer);
    return { bytes, giveBack: () => {} };
  } catch (error) {
    pool.give(buffer);
    throw error;
  }
}

async function writeChunk(exchange: Exchange, { bytes, giveBack }: Lent): Promise<void> {
  try {
    await exchange.write(bytes);
  } catch (error) {
    giveBack(false);
    throw error;
  }
  giveBack(true);
}
