// The upload of one blob to S3: its bytes, read in order and hashed as they are read, how they are cut into parts, how
// long a part may take, and how it is signed.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/digest.ts";
import { type BlobReader, StoreError } from "../../ports/blobs.ts";

const MiB = 1024 * 1024;

/** Bytes of a part, and of the largest blob stored in one request. */
export const partSize = 16 * MiB;
/** S3's limit ("Amazon S3 multipart upload limits"). */
const maxParts = 10_000;
/** Bytes of blobs in memory over all uploads: four parts. */
export const maxUploadMemory = 4 * partSize;
/** Bytes a small upload counts for, so that at most 64 run at once. */
export const minCharge = MiB;

export interface S3Upload {
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string | undefined;
  readonly blob: Pick<BlobReader, "read">;
  readonly signal: AbortSignal;
}

/** Bytes read and hashed at a time; the event loop runs other work between two of them. */
const step = MiB;

/** A part of the blob, and its sha256 in hex. */
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

  /**
   * The next `length` bytes. Rejects with StoreError `size_mismatch` when the blob ends earlier, and as its reader
   * does.
   */
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

  /** Once all bytes are read: throws StoreError `corrupt` when they are not the digest's. */
  verify(): void {
    if (this.#whole.digest("hex") !== digestHex(this.#digest)) {
      throw new StoreError("corrupt", `the local copy of ${this.#digest} has other bytes: not uploaded`);
    }
  }
}

/**
 * Bytes of each part but the last of a blob of `size`. Throws StoreError beyond 625 GiB: a part has to fit in memory.
 */
export function partLength(size: number): number {
  const needed = Math.ceil(size / maxParts / MiB) * MiB;
  if (needed > maxUploadMemory)
    throw new StoreError("unavailable", `${size} bytes are too many for the shared store`);
  return Math.max(partSize, needed);
}

/** Milliseconds for a request with `bytes` of body: a MiB a second, and 5 s for the answer. */
export function bodyTimeout(bytes: number): number {
  return 5_000 + Math.ceil(bytes / MiB) * 1_000;
}

interface BuildArguments {
  readonly request: unknown;
}

/** How a command's middleware stack takes what `payloadHash` makes. */
export const payloadHashStep = { step: "build", name: "entrepotPayloadHash" } as const;

/**
 * A middleware that gives the sha256 of the body, in hex, to the signature instead of having it computed once more. The
 * server compares it with what arrived ("Authenticating Requests: AWS Signature Version 4", x-amz-content-sha256), so a
 * byte that changes on the way is noticed also where the server knows no checksum headers.
 */
export function payloadHash(sha256: string) {
  return <A extends BuildArguments, R>(next: (args: A) => Promise<R>) =>
    (args: A): Promise<R> => {
      const { headers } = args.request as { headers: Record<string, string> };
      headers["x-amz-content-sha256"] = sha256;
      return next(args);
    };
}
