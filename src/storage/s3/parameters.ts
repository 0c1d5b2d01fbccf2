// What requests to S3 say of the object they write.
import type { ServerSideEncryption } from "@aws-sdk/client-s3";
import type { S3Config } from "../../config/config.ts";

/** The type of everything that is no manifest. */
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

/** The media type of a manifest; undefined for every other blob, also of one that somebody else stored untyped. */
export function mediaTypeOf(contentType: string | undefined): string | undefined {
  return contentType === undefined || /^(?:application|binary)\/octet-stream\b/.test(contentType)
    ? undefined
    : contentType;
}
