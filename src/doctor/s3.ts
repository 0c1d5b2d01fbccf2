// The bucket, with the client the mirror has: whether it is there and lets us list, write, read and delete.
import { randomBytes } from "node:crypto";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import type { S3Config } from "../config/config.ts";
import { StoreError } from "../ports/blobs.ts";
import { S3Bucket, type S3Operation, type S3Request } from "../storage/s3/bucket.ts";
import type { S3Refusal } from "../storage/s3/failure.ts";
import { objectParameters } from "../storage/s3/object.ts";
import { type Finding, failed, ok, type Part } from "./examination.ts";

/** Milliseconds for an answer: longer than clients wait for one, so that a slow S3 is told from one that is away. */
const timeout = 5_000;

export async function examineS3(part: Part, config: S3Config): Promise<void> {
  const bucket = new S3Bucket(config, { notices: () => {} });
  const Bucket = config.bucket;
  const Key = `${config.prefix}doctor/${randomBytes(8).toString("hex")}`;
  const ask = async <T>(
    operation: S3Operation,
    action: string,
    send: S3Request<T>["send"],
    done: Finding,
  ): Promise<Finding> => {
    try {
      const request = { operation, action, timeout, send, mayRefuse: true, accepts: () => true };
      const { refusal } = await bucket.ask(request);
      return refusal === undefined ? done : refusalFinding(config, operation, action, refusal);
    } catch (error) {
      if (error instanceof StoreError) return failed(error.message, reachFix(error.message));
      throw error;
    }
  };
  const { href = "AWS" } = config.endpoint ?? {};
  try {
    // A refusal of HEAD has no body to say why, so the first question is a list.
    await part.check("bucket", () =>
      ask(
        "s3.list",
        "list it",
        (client, options) =>
          client.send(new ListObjectsV2Command({ Bucket, Prefix: config.prefix, MaxKeys: 1 }), options),
        ok(`${Bucket} at ${href}`),
      ),
    );
    await part.check("write", () =>
      ask(
        "s3.put",
        "write to it",
        (client, options) => {
          const parameters = objectParameters(config, undefined);
          return client.send(
            new PutObjectCommand({ Bucket, Key, Body: Buffer.from("1"), ...parameters }),
            options,
          );
        },
        ok("an object was written"),
      ),
    );
    await part.check(
      "read",
      () =>
        ask(
          "s3.read",
          "read from it",
          async (client, options) => {
            const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }), options);
            await Body?.transformToByteArray();
          },
          ok("and read"),
        ),
      { alone: true },
    );
    await part.check(
      "delete",
      () =>
        ask(
          "s3.delete",
          `delete ${Key}`,
          (client, options) => client.send(new DeleteObjectCommand({ Bucket, Key }), options),
          ok("and deleted"),
        ),
      { alone: true },
    );
  } finally {
    bucket.close();
  }
}

function reachFix(message: string): string {
  if (/ENOTFOUND|EAI_AGAIN/.test(message))
    return "Correct the host in s3.endpoint (and s3.pathStyle, which decides whether the bucket is in it), or the DNS.";
  if (/CERT|SELF_SIGNED/.test(message))
    return "Add the authority of S3's certificate to those of the system.";
  if (/CredentialsProvider/.test(message))
    return "Set s3.accessKeyId and s3.secretAccessKey, or give this machine a role.";
  return "Start S3, or correct s3.endpoint, and let this machine reach it; until then each node has its own disk alone.";
}

function refusalFinding(
  { bucket, region }: S3Config,
  operation: S3Operation,
  action: string,
  { status, code }: S3Refusal,
): Finding {
  return failed(
    `cannot ${action}: it answered ${status} ${code}`,
    refusalFix(bucket, region, operation, code, status),
  );
}

/** By S3's list of error responses. */
function refusalFix(
  bucket: string,
  region: string,
  operation: S3Operation,
  code: string,
  status: number,
): string {
  if (code === "InvalidAccessKeyId") return "Correct s3.accessKeyId (or its file): S3 knows no such key.";
  if (code === "SignatureDoesNotMatch")
    return "Correct s3.secretAccessKey (or its file): it is not that of the key.";
  if (code === "RequestTimeTooSkewed")
    return "Set this machine's clock: S3 takes signatures of fifteen minutes at most.";
  if (code === "ExpiredToken" || code === "TokenRefreshRequired")
    return "Renew the credentials: they have expired.";
  if (code === "NoSuchBucket") return `Make the bucket ${bucket}, or correct s3.bucket.`;
  if (
    /^(?:PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException|TemporaryRedirect)$/.test(
      code,
    ) ||
    status === 301
  )
    return `Correct s3.region, which is ${region}: the bucket is in another one.`;
  if (code === "QuotaExceeded" || status === 507) return "Make room in S3, or set s3.maxSize.";
  if (status === 403) return `Give the key the right to ${rights[operation] ?? "use the bucket"}.`;
  if (status >= 500) return "Mend S3: it fails by itself.";
  return "Check s3.endpoint and s3.bucket.";
}

/** As policies call them. */
const rights: Partial<Record<S3Operation, string>> = {
  "s3.list": "list the bucket (s3:ListBucket)",
  "s3.put": "write objects (s3:PutObject)",
  "s3.read": "read objects (s3:GetObject)",
  "s3.delete": "delete objects (s3:DeleteObject): without it what is evicted stays for ever",
};
