// Aborts uploads that were neither completed nor aborted: a node was killed, or S3 was away. Their parts take space,
// and no list of objects shows them.
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
import { blobPrefix } from "./object.ts";

/** Milliseconds after which an upload counts as abandoned. */
const abandonedAfter = 24 * 3_600_000;

/**
 * Aborts the uploads of any node, under the prefix, that were begun more than a day ago; resolves with their number.
 * Rejects with StoreError; the next sweep takes the rest.
 */
export async function sweepUploads(bucket: S3Bucket, clock: Clock, signal: AbortSignal): Promise<number> {
  const { bucket: Bucket, prefix } = bucket.config;
  const Prefix = blobPrefix(prefix);
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
    // A server that announces more without a new marker would be asked for the same page for ever.
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
    operation: "s3.sweep",
    action: "list unfinished uploads",
    timeout: backgroundTimeout,
    signal,
    mayRefuse: true,
    send: (client, options) => client.send(new ListMultipartUploadsCommand(input), options),
  });
}

async function abortUpload(
  bucket: S3Bucket,
  input: AbortMultipartUploadCommandInput,
  signal: AbortSignal,
): Promise<void> {
  await bucket.ask({
    operation: "s3.sweep",
    action: "abort an unfinished upload",
    timeout: backgroundTimeout,
    signal,
    mayRefuse: true,
    accepts: ({ status }) => status === 404,
    send: (client, options) => client.send(new AbortMultipartUploadCommand(input), options),
  });
}
