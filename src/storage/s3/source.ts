// The bytes of a blob on their way to S3: read in order, hashed as they are read.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/digest.ts";
import { type BlobReader, StoreError } from "../../ports/blobs.ts";

/** Bytes read and hashed at a time; the event loop turns in between. */
const step = 1024 * 1024;

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
