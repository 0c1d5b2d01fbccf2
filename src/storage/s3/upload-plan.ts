// How a blob is cut for its upload, and what that costs in memory and time.

import type { Digest } from "../../oci/digest.ts";
import { type BlobReader, StoreError } from "../../ports/blobs.ts";

const MiB = 1024 * 1024;

/** Bytes of a part, and of the largest blob stored in one request. */
export const partSize = 16 * MiB;
/** S3's limit ("Amazon S3 multipart upload limits"). */
const maxParts = 10_000;
/** Bytes of blobs in memory over all uploads: four parts. */
export const uploadMemory = 4 * partSize;
/** What a small upload counts for, so that no more than 64 run at once. */
export const leastCharge = MiB;

export interface Upload {
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string | undefined;
  readonly blob: Pick<BlobReader, "read">;
  readonly signal: AbortSignal;
}

/** Bytes of each part but the last of a blob of `size`. Throws StoreError beyond 625 GiB: a part has to fit in memory. */
export function partLength(size: number): number {
  const least = Math.ceil(size / maxParts / MiB) * MiB;
  if (least > uploadMemory)
    throw new StoreError("unavailable", `${size} bytes are too many for the shared store`);
  return Math.max(partSize, least);
}

/** Milliseconds for a request that carries `bytes`: a mebibyte a second, and something for the answer. */
export function carryTimeout(bytes: number): number {
  return 5_000 + Math.ceil(bytes / MiB) * 1_000;
}
