// The object of a blob: its key, <prefix>blobs/<algorithm>/<2 hex>/<hex> as in the layout of the disk store, its
// content type and its encryption.
import type { ServerSideEncryption } from "@aws-sdk/client-s3";
import type { S3Config } from "../../config/config.ts";
import { type Digest, digestAlgorithm, digestHex, parseDigest } from "../../oci/digest.ts";

const keyGrammar = /^blobs\/(sha256|sha512)\/([0-9a-f]{2})\/(\2[0-9a-f]+)$/;

/** What all keys of blobs begin with. `prefix` is "" or ends in a slash. */
export function blobPrefix(prefix: string): string {
  return `${prefix}blobs/`;
}

export function objectKey(prefix: string, digest: Digest): string {
  const hex = digestHex(digest);
  return `${blobPrefix(prefix)}${digestAlgorithm(digest)}/${hex.slice(0, 2)}/${hex}`;
}

/** The digest of a key; undefined for the key of anything but a blob of ours. */
export function digestOfObject(prefix: string, key: string): Digest | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const [, algorithm, , hex] = keyGrammar.exec(key.slice(prefix.length)) ?? [];
  return hex === undefined ? undefined : parseDigest(`${algorithm}:${hex}`);
}

/** The content type of everything but manifests. */
const plainType = "application/octet-stream";

/** Type and encryption of a new object. */
export interface ObjectParameters {
  readonly ContentType: string;
  readonly ServerSideEncryption?: ServerSideEncryption;
  readonly SSEKMSKeyId?: string;
}

export function objectParameters({ encryption }: S3Config, mediaType: string | undefined): ObjectParameters {
  const type = { ContentType: mediaType ?? plainType };
  if (encryption === undefined) return type;
  const { algorithm, keyId } = encryption;
  return {
    ...type,
    ServerSideEncryption: algorithm,
    ...(keyId === undefined ? {} : { SSEKMSKeyId: keyId }),
  };
}

/** The media type of a manifest; undefined for the generic types of other blobs, whichever program stored them. */
export function mediaTypeOf(contentType: string | undefined): string | undefined {
  return contentType === undefined || /^(?:application|binary)\/octet-stream\b/.test(contentType)
    ? undefined
    : contentType;
}
