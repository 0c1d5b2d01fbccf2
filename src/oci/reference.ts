// What stands after `/manifests/`: a tag or a digest.
import { type Digest, parseDigest } from "./digest.ts";
import { parseTag, type Tag } from "./name.ts";

export type Reference =
  | { readonly kind: "tag"; readonly tag: Tag }
  | { readonly kind: "digest"; readonly digest: Digest };

/** A tag cannot contain a colon, so a colon decides: it is a digest or nothing. */
export function parseReference(text: string): Reference | undefined {
  if (text.includes(":")) {
    const digest = parseDigest(text);
    return digest && { kind: "digest", digest };
  }
  const tag = parseTag(text);
  return tag && { kind: "tag", tag };
}

/** The reference as it stands in a path. */
export function referenceText(reference: Reference): string {
  return reference.kind === "tag" ? reference.tag : reference.digest;
}
