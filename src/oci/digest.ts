// Content digests as the OCI image-spec defines them (descriptor.md, "Digests"): `algorithm:hex`.
// A Digest is parsed once at the edge; everything behind it may trust the grammar.

declare const digestBrand: unique symbol;

/** A syntactically valid `sha256:<64 hex>` or `sha512:<128 hex>`, lower case. */
export type Digest = string & { readonly [digestBrand]: true };

export type DigestAlgorithm = "sha256" | "sha512";

const grammar = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/**
 * The registered algorithms only: an unknown algorithm could not be verified, so it is not a digest here.
 * Upper case, short, long and path-like values (CVE-2024-3727) give undefined.
 */
export function parseDigest(text: string): Digest | undefined {
  return grammar.test(text) ? (text as Digest) : undefined;
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith("sha256:") ? "sha256" : "sha512";
}

/** The part after the colon: safe as a file name. */
export function digestHex(digest: Digest): string {
  return digest.slice(7);
}

/** Builds a digest from a finished hash. Throws RangeError when `hex` does not have the algorithm's length. */
export function makeDigest(algorithm: DigestAlgorithm, hex: string): Digest {
  const digest = parseDigest(`${algorithm}:${hex}`);
  if (digest === undefined)
    throw new RangeError(`not a ${algorithm} in lower-case hex: ${hex.slice(0, 140)}`);
  return digest;
}
