// Where blobs are that are not on the disk, for one answer of the ops listener.
import type { Digest } from "../../oci/digest.ts";

/**
 * The names of other places that have each, such as `s3`; one that is not among them is not known. Never rejects. It is begun
 * for one answer, and what it may take in time and failures is bounded for all of that answer's questions.
 */
export type Elsewhere = (digests: readonly Digest[]) => Promise<ReadonlyMap<Digest, readonly string[]>>;
