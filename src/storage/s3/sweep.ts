// Uploads that nobody completed or aborted: a node was killed, or S3 was gone when the upload was to be aborted. Their
// parts cost room and are seen by no list of objects.
import { isDeepStrictEqual } from "node:util";
import {
  AbortMultipartUploadCommand,
  type AbortMultipartUploadCommandInput,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandInput,
  type ListMultipartUploadsCommandOutput,
} from "@aws-sdk/client-s3";
import type { Clock } from "../../ports/clock.ts";
import { backgroundTimeout, type S3Bucket } from "./bucket.ts";
import { keysBegin } from "./object.ts";

/** Milliseconds after which no upload is still running. */
const abandonedAfter = 24 * 3_600_000;

/**
 * Aborts the uploads of any node, under our prefix, that were begun more than a day ago; resolves with their number.
 * Rejects with StoreError, leaving the others for the next time.
 */
export async function sweepUploads(bucket: S3Bucket, clock: Clock, signal: AbortSignal): Promise<number> {
  const { bucket: Bucket, prefix } = bucket.config;
  const Prefix = keysBegin(prefix);
  let swept = 0;
  let marker: Pick<ListMultipartUploadsCommandInput, "KeyMarker" | "UploadIdMarker"> = {};
  for (;;) {
    const page = await listUploads(bucket, { Bucket, Prefix, ...marker }, signal);
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      if (!Key?.startsWith(Prefix) || UploadId === undefined || Initiated === undefined) continue;
      if (clock() - Initiated.getTime() < abandonedAfter) continue;
      await abortUpload(bucket, { Bucket, Key, UploadId }, signal);
      swept++;
    }
    const { IsTruncated, NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page;
    const next = { KeyMarker, UploadIdMarker };
    // A server that says "more" without saying where would be asked for the same page for ever.
    if (!IsTruncated || isDeepStrictEqual(next, marker) || KeyMarker === undefined) return swept;
    marker = next;
  }
}

function listUploads(
  bucket: S3Bucket,
  input: ListMultipartUploadsCommandInput,
  signal: AbortSignal,
): Promise<ListMultipartUploadsCommandOutput> {
  return bucket.output({
    op: "s3.sweep",
    deed: "list unfinished uploads",
    timeout: backgroundTimeout,
    signal,
    strict: false,
    ask: (client, options) => client.send(new ListMultipartUploadsCommand(input), options),
  });
}

async function abortUpload(
  bucket: S3Bucket,
  input: AbortMultipartUploadCommandInput,
  signal: AbortSignal,
): Promise<void> {
  await bucket.ask({
    op: "s3.sweep",
    deed: "abort an unfinished upload",
    timeout: backgroundTimeout,
    signal,
    strict: false,
    accepts: ({ status }) => status === 404,
    ask: (client, options) => client.send(new AbortMultipartUploadCommand(input), options),
  });
}
