// Where an export is written. What is there already, from an export that was interrupted or from another one, is kept.
import type { JsonObject } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";

/**
 * A layout being written, of which no reader sees anything that is not whole. Manifests come first, then blobs, each once and in the
 * same order every time. Everything rejects with the system's errors.
 */
export interface LayoutWriter {
  /** Makes ready for these images, descriptors of index.json. Rejects with LayoutError occupied. */
  begin(images: readonly JsonObject[]): Promise<void>;
  /** Whether the blob is there, by its digest: then it is not to be written. */
  has(digest: Digest, size: number): Promise<boolean>;
  /** Rejects as `chunks` does, and the blob is not there then. */
  write(digest: Digest, size: number, chunks: AsyncIterable<Buffer>): Promise<void>;
  /** All is written: from now on readers see it. */
  finish(): Promise<void>;
  /** Ends it before that; what was written stays for the next time. Idempotent, also after `finish`. */
  close(): Promise<void>;
}
