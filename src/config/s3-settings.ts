// The part of the table of settings that is about the store shared with other nodes.
import * as s3 from "./s3-types.ts";
import type { Setting } from "./setting.ts";
import * as type from "./value-types.ts";

export const s3Settings = {
  "s3.bucket": {
    env: "ENTREPOT_S3_BUCKET",
    default: undefined,
    type: s3.bucket,
    description:
      "Bucket in which the nodes of a datacenter share what they fetched; without one nothing is shared",
  },
  "s3.endpoint": {
    env: "ENTREPOT_S3_ENDPOINT",
    default: undefined,
    type: s3.endpoint,
    shown: "url",
    description: "Address of an S3-compatible server; that of AWS for the region unless set",
  },
  "s3.region": {
    env: "ENTREPOT_S3_REGION",
    default: "us-east-1",
    type: s3.region,
    description: "Region that requests are signed for",
  },
  "s3.prefix": {
    env: "ENTREPOT_S3_PREFIX",
    default: undefined,
    type: s3.prefix,
    description:
      "What the keys of objects begin with, such as mirror/eu; everything below it is the mirror's",
  },
  "s3.pathStyle": {
    env: "ENTREPOT_S3_PATH_STYLE",
    default: undefined,
    type: type.yesOrNo,
    description:
      "Whether the bucket is named in the path of URLs instead of in their host; true when there is an endpoint, unless set",
  },
  "s3.accessKeyId": {
    env: "ENTREPOT_S3_ACCESS_KEY_ID",
    default: undefined,
    type: s3.accessKeyId,
    shown: "hidden",
    description:
      "Account at the store; without one the AWS SDK looks where it always does: environment, files, instance role",
  },
  "s3.accessKeyIdFile": {
    env: "ENTREPOT_S3_ACCESS_KEY_ID_FILE",
    default: undefined,
    type: type.path,
    shown: "path",
    description: "File that holds it instead; read again whenever it changes",
  },
  "s3.secretAccessKey": {
    env: "ENTREPOT_S3_SECRET_ACCESS_KEY",
    default: undefined,
    type: s3.secretAccessKey,
    shown: "hidden",
    description: "The account's secret",
  },
  "s3.secretAccessKeyFile": {
    env: "ENTREPOT_S3_SECRET_ACCESS_KEY_FILE",
    default: undefined,
    type: type.path,
    shown: "path",
    description: "File that holds the secret, instead of the secret itself; read again whenever it changes",
  },
  "s3.sse": {
    env: "ENTREPOT_S3_SSE",
    default: undefined,
    type: type.oneOf(["aes256", "aws:kms"]),
    description:
      "Encryption to ask for with every object, AES256 or aws:kms; what the bucket does by itself unless set",
  },
  "s3.sseKeyId": {
    env: "ENTREPOT_S3_SSE_KEY_ID",
    default: undefined,
    type: s3.keyId,
    description: "Key for aws:kms; the account's own unless set",
  },
  "s3.maxSize": {
    env: "ENTREPOT_S3_MAX_SIZE",
    default: undefined,
    type: type.size(1_000_000),
    description:
      "Bytes of images kept in the bucket at most, least recently used deleted first; left to a rule of the bucket unless set",
  },
  "s3.redirectAbove": {
    env: "ENTREPOT_S3_REDIRECT_ABOVE",
    default: undefined,
    type: type.size(1),
    description:
      "Size from which on clients are sent to the bucket itself, with a signed URL; never unless set, for it has to be in their reach",
  },
} as const satisfies Record<string, Setting>;
