// The bytes of a blob on their way to S3: read in order, hashed as they are read.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/digest.ts";
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

/** Bytes read and hashed at a time; the event loop turns in between. */
const step = MiB;

/** Bytes of the blob, and their sha256 in hex. */
export interface SourcePart {
  readonly bytes: Buffer;
  readonly sha256: string;
}

export class S3Source {
  readonly #blob: Pick<BlobReader, "read">;
  readonly #digest: Digest;
  readonly #size: number;
  readonly #whole;
  #position = 0;

  constructor(blob: Pick<BlobReader, "read">, digest: Digest, size: number) {
    this.#blob = blob;
    this.#digest = digest;
    this.#size = size;
    this.#whole = createHash(digestAlgorithm(digest));
  }

  get left(): number {
    return this.#size - this.#position;
  }

  /** The next `length` bytes. Rejects with StoreError size_mismatch when the blob ends before, and as its reader does. */
  async next(length: number): Promise<SourcePart> {
    const bytes = Buffer.allocUnsafeSlow(length);
    const hash = createHash("sha256");
    for (let filled = 0; filled < length; ) {
      const scratch = bytes.subarray(filled, Math.min(length, filled + step));
      const read = await this.#blob.read(this.#position, scratch);
      if (read.length === 0) {
        throw new StoreError(
          "size_mismatch",
          `${this.#digest} ends at ${this.#position} of ${this.#size} bytes`,
        );
      }
      const inPlace = read.buffer === bytes.buffer && read.byteOffset === scratch.byteOffset;
      if (!inPlace) read.copy(bytes, filled);
      const chunk = scratch.subarray(0, read.length);
      hash.update(chunk);
      this.#whole.update(chunk);
      filled += chunk.length;
      this.#position += chunk.length;
    }
    return { bytes, sha256: hash.digest("hex") };
  }

  /** Rejects bytes that are not the digest's, when all of them have been read: StoreError corrupt. */
  verify(): void {
    if (this.#whole.digest("hex") !== digestHex(this.#digest)) {
      throw new StoreError("corrupt", `the local copy of ${this.#digest} has other bytes: not uploaded`);
    }
  }
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

interface Building {
  readonly request: unknown;
}

/** Options of a command's middleware stack for what `payloadHash` makes. */
export const payloadHashStep = { step: "build", name: "entrepotPayloadHash" } as const;

/**
 * A middleware that gives the sha256 of the body, in hex, to the signature instead of having it computed once more. The
 * server compares it with what arrived ("Authenticating Requests: AWS Signature Version 4", x-amz-content-sha256), so a
 * byte that changes on the way is noticed also where the server knows no checksum headers.
 */
export function payloadHash(sha256: string) {
  return <A extends Building, R>(next: (args: A) => Promise<R>) =>
    (args: A): Promise<R> => {
      const { headers } = args.request as { headers: Record<string, string> };
      headers["x-amz-content-sha256"] = sha256;
      return next(args);
    };
}
