// Digests as the index keeps them: the raw bytes, half the size of the hex. The length tells the algorithm.
import { type Digest, digestHex, makeDigest } from "../../oci/digest.ts";

const sha256Length = 32;

export function digestKey(digest: Digest): Buffer {
  return Buffer.from(digestHex(digest), "hex");
}

/** `bytes`: a column that holds what `digestKey` gave. Throws RangeError for anything else. */
export function digestOfKey(bytes: unknown): Digest {
  if (!(bytes instanceof Uint8Array)) throw new RangeError("not a digest column");
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
  return makeDigest(bytes.byteLength === sha256Length ? "sha256" : "sha512", hex);
}
