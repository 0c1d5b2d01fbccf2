// Every object key is made here: <prefix>blobs/<algorithm>/<2 hex>/<hex>, the layout of the disk store.
import { type Digest, digestAlgorithm, digestHex, parseDigest } from "../../oci/digest.ts";

const keyGrammar = /^blobs\/(sha256|sha512)\/([0-9a-f]{2})\/(\2[0-9a-f]+)$/;

/** What all keys begin with. `prefix` is "" or ends in a slash. */
export function keysBegin(prefix: string): string {
  return `${prefix}blobs/`;
}

export function objectKey(prefix: string, digest: Digest): string {
  const hex = digestHex(digest);
  return `${keysBegin(prefix)}${digestAlgorithm(digest)}/${hex.slice(0, 2)}/${hex}`;
}

/** The digest a key is named for; undefined for an object that is not ours. */
export function digestOfObject(prefix: string, key: string): Digest | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const [, algorithm, , hex] = keyGrammar.exec(key.slice(prefix.length)) ?? [];
  return hex === undefined ? undefined : parseDigest(`${algorithm}:${hex}`);
}
