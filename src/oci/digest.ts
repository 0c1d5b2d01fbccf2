// Content digests as the OCI image-spec defines them (descriptor, "Digests"): `algorithm:hex`.
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

/** Of no bytes at all: SHA-256 and SHA-512 of the empty string (FIPS 180-4). */
const digestsOfNothing: ReadonlySet<string> = new Set([
  "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
]);

/** Whether content of `size` bytes can have this digest, as far as anybody can tell without the content. */
export function sizeFits(digest: Digest, size: number): boolean {
  return (size === 0) === digestsOfNothing.has(digest);
}
