// Uploads of a large blob in parts, a few at once. S3's checksum of the parts is not the digest, so the bytes are
// hashed here as they are read. The upload is completed only when their hash is the digest, and aborted otherwise.
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { backgroundTimeout, type S3Bucket } from "./bucket.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { type ConditionalWrites, isConditionAnswer } from "./conditional.ts";
import { s3ProtocolError } from "./failure.ts";
import { objectKey, objectParameters } from "./object.ts";
import {
  bodyTimeout,
  partLength,
  payloadHash,
  payloadHashStep,
  S3Source,
  type S3Upload,
  type SourcePart,
} from "./upload-source.ts";

/** Milliseconds S3 may take to put the parts together. */
const completeTimeout = 60_000;

export interface MultipartContext {
  readonly bucket: S3Bucket;
  /** A part counts from before it is read until S3 has answered. */
  readonly budget: ByteBudget;
  readonly conditional: ConditionalWrites;
  /** Whether the whole blob is there. */
  readonly exists: () => Promise<boolean>;
}

/**
 * Stores the blob unless another node has done so meanwhile. Rejects with StoreError, after trying to abort the upload.
 */
export async function uploadInParts(upload: S3Upload, context: MultipartContext): Promise<void> {
  const length = partLength(upload.size);
  const target = await begin(upload, context.bucket);
  const sending: Sending = { ...context, upload, target };
  try {
    const parts = await sendParts(sending, length);
    if (!(await complete(sending, parts))) await abort(sending);
  } catch (error) {
    await abort(sending);
    throw error;
  }
}

interface Target {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string;
}

interface Sending extends MultipartContext {
  readonly upload: S3Upload;
  readonly target: Target;
}

async function begin({ digest, mediaType, signal }: S3Upload, bucket: S3Bucket): Promise<Target> {
  const { config } = bucket;
  const action = `begin the upload of ${digest}`;
  const object = { Bucket: config.bucket, Key: objectKey(config.prefix, digest) };
  const { UploadId } = await bucket.output({
    operation: "s3.put",
    action,
    timeout: backgroundTimeout,
    signal,
    mayRefuse: true,
    send: (client, options) =>
      client.send(
        new CreateMultipartUploadCommand({ ...object, ...objectParameters(config, mediaType) }),
        options,
      ),
  });
  if (UploadId === undefined)
    throw s3ProtocolError(config.bucket, action, "it answered without an upload's id");
  return { ...object, UploadId };
}

/** Reads, hashes and sends all parts, as many at once as the budget has memory for. */
async function sendParts(sending: Sending, length: number): Promise<CompletedPart[]> {
  const { upload, budget } = sending;
  const source = new S3Source(upload.blob, upload.digest, upload.size);
  const failing = new AbortController();
  const signal = AbortSignal.any([upload.signal, failing.signal]);
  const sent: Promise<CompletedPart>[] = [];
  try {
    while (source.left > 0) {
      const next = Math.min(length, source.left);
      const release = await budget.take(next, signal);
      const part = await source.next(next).catch((error: unknown) => {
        release();
        throw error;
      });
      const answer = sendPart(sending, sent.length + 1, part, signal).finally(release);
      answer.catch((error: unknown) => failing.abort(error));
      sent.push(answer);
    }
    source.verify();
    return await Promise.all(sent);
  } catch (error) {
    // The first failure is the reason; those of the other parts follow from it.
    if (!failing.signal.aborted) failing.abort(error);
    await Promise.allSettled(sent);
    throw failing.signal.reason;
  }
}

async function sendPart(
  { upload, bucket, target }: Sending,
  PartNumber: number,
  { bytes, sha256 }: SourcePart,
  signal: AbortSignal,
): Promise<CompletedPart> {
  const action = `store part ${PartNumber} of ${upload.digest}`;
  const { ETag } = await bucket.output({
    operation: "s3.put",
    action,
    timeout: bodyTimeout(bytes.length),
    signal,
    mayRefuse: true,
    send: (client, options) => {
      const input = { ...target, PartNumber, Body: bytes, ContentLength: bytes.length };
      const part = new UploadPartCommand(input);
      part.middlewareStack.add(payloadHash(sha256), payloadHashStep);
      return client.send(part, options);
    },
  });
  if (ETag === undefined) throw s3ProtocolError(target.Bucket, action, "it answered without an entity tag");
  return { PartNumber, ETag };
}

/** True when the object is now this upload's, false when it is another one's. */
async function complete(sending: Sending, Parts: CompletedPart[]): Promise<boolean> {
  const { upload, bucket, target, conditional, exists } = sending;
  const write = (condition: "*" | undefined) =>
    bucket.ask({
      operation: "s3.put",
      action: `complete the upload of ${upload.digest}`,
      timeout: completeTimeout,
      signal: upload.signal,
      mayRefuse: true,
      accepts: isConditionAnswer,
      send: (client, options) => {
        const input = { ...target, MultipartUpload: { Parts }, ...(condition && { IfNoneMatch: condition }) };
        return client.send(new CompleteMultipartUploadCommand(input), options);
      },
    });
  try {
    return await conditional.run("complete", write, exists, upload.signal);
  } catch (error) {
    // When the answer was lost, a retry finds no such upload any more.
    if (await exists().catch(() => false)) return false;
    throw error;
  }
}

/** Never rejects: an upload that stays is swept later (sweep.ts). */
async function abort({ upload, bucket, target }: Sending): Promise<void> {
  await bucket
    .ask({
      operation: "s3.put",
      action: `abort the upload of ${upload.digest}`,
      timeout: backgroundTimeout,
      mayRefuse: true,
      accepts: ({ status }) => status === 404,
      send: (client, options) => client.send(new AbortMultipartUploadCommand(target), options),
    })
    .catch(() => {});
}
