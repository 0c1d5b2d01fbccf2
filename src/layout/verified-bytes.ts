// Bytes that are checked against their digest while they pass.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../oci/digest.ts";
import { LayoutError } from "./layout-error.ts";

/** The same chunks. Throws LayoutError wrong_bytes at the end, or as soon as there are more than `size`. */
export async function* verifiedBytes(
  digest: Digest,
  size: number,
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  const hash = createHash(digestAlgorithm(digest));
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > size) break;
    hash.update(chunk);
    yield chunk;
  }
  if (length !== size)
    throw new LayoutError(
      "wrong_bytes",
      `${digest} has ${length > size ? "more" : "less"} than its ${size} bytes`,
    );
  if (hash.digest("hex") !== digestHex(digest))
    throw new LayoutError("wrong_bytes", `the bytes of ${digest} do not have this digest`);
}

/** Whether the chunks are the blob of that size. Rejects as they do. */
export async function areBytesOf(
  digest: Digest,
  size: number,
  chunks: AsyncIterable<Buffer>,
): Promise<boolean> {
  try {
    for await (const _ of verifiedBytes(digest, size, chunks));
    return true;
  } catch (error) {
    if (error instanceof LayoutError) return false;
    throw error;
  }
}

export function hasDigest(digest: Digest, body: Buffer): boolean {
  return createHash(digestAlgorithm(digest)).update(body).digest("hex") === digestHex(digest);
}

/** All bytes of what has at most `largest`. Throws LayoutError too_large for more. */
export async function bytesOf(name: string, largest: number, chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > largest) throw new LayoutError("too_large", `${name} has more than ${largest} bytes`);
    all.push(chunk);
  }
  return Buffer.concat(all, length);
}
