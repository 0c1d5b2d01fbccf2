// The bytes of a blob, from a reader to the client: whole, one range, or several in one multipart/byteranges body.
import { randomBytes } from "node:crypto";
import type { OutgoingHttpHeaders } from "node:http";
import { type ByteRange, contentRange } from "../oci/range.ts";
import { type BlobReader, type Lent, StoreError } from "../ports/blobs.ts";
import { type BufferPool, largestBuffer } from "./buffer-pool.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Writes the bytes from `start` up to `end` (exclusive; undefined: to the end of a blob whose size is not known yet).
 * One chunk is written while the next is read, unless many clients read. Holds at most two lent buffers, and none while
 * the bytes come from memory. Rejects when the reader fails or the client leaves.
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
    // A fill is read only after the last write is out: everything that has arrived by then goes out in one write.
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
    // Awaited in the next turn or after the loop. Until then a client that leaves must not be an unhandled rejection.
    writing.catch(() => {});
    position += bytes.length;
  }
  await writing;
}

/**
 * Starts a 206 with a multipart/byteranges body (RFC 9110, section 14.6) and sends every range as one part, in the
 * order given. The length is announced. Lazy snapshotters and zstd:chunked ask for many ranges at once.
 */
export async function sendParts(
  exchange: Exchange,
  reader: BlobReader,
  ranges: readonly ByteRange[],
  size: number,
  headers: OutgoingHttpHeaders,
  pool: BufferPool,
): Promise<void> {
  const boundary = randomBytes(16).toString("hex");
  const type = headers["content-type"];
  const heads = ranges.map(({ start, end }) =>
    Buffer.from(
      `\r\n--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: ${contentRange(start, end, size)}\r\n\r\n`,
    ),
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const length = ranges.reduce(
    (sum, { start, end }, i) => sum + (heads[i] as Buffer).length + end - start + 1,
    tail.length,
  );
  exchange.begin(206, { ...headers, "content-type": `multipart/byteranges; boundary=${boundary}` }, length);
  for (const [i, { start, end }] of ranges.entries()) {
    await exchange.write(heads[i] as Buffer);
    await sendBody(exchange, reader, start, end + 1, pool);
  }
  await exchange.write(tail);
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
  const buffer = pool.take(reader.arrived === undefined ? "file" : "fill");
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
