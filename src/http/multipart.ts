// multipart/byteranges (RFC 9110 section 14.6): lazy snapshotters and zstd:chunked ask for many pieces at once.
import { randomBytes } from "node:crypto";
import type { OutgoingHttpHeaders } from "node:http";
import { type ByteRange, contentRange } from "../oci/range.ts";
import type { BlobReader } from "../ports/blobs.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { Exchange } from "./exchange.ts";
import { sendBody } from "./send-body.ts";

/** Starts a 206 and sends every range as one part, in the order given. The length is announced. */
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
