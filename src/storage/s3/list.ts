// What is in the bucket, page by page.
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import type { BlobInfo } from "../../ports/blobs.ts";
import { backgroundTimeout, type S3Bucket } from "./bucket.ts";
import { digestOfObject, keysBegin } from "./object.ts";

/** Every blob under our prefix, in the order of the keys; other objects are passed over. Rejects with StoreError. */
export async function* listBlobs(bucket: S3Bucket, signal?: AbortSignal): AsyncGenerator<BlobInfo> {
  const { bucket: Bucket, prefix } = bucket.config;
  let after: string | undefined;
  do {
    const input = { Bucket, Prefix: keysBegin(prefix), ...(after && { ContinuationToken: after }) };
    const page = await bucket.output({
      op: "s3.list",
      deed: "list the blobs",
      timeout: backgroundTimeout,
      signal,
      strict: false,
      ask: (client, options) => client.send(new ListObjectsV2Command(input), options),
    });
    for (const { Key, Size, LastModified } of page.Contents ?? []) {
      const digest = Key === undefined ? undefined : digestOfObject(prefix, Key);
      if (digest === undefined || Size === undefined || LastModified === undefined) continue;
      yield { digest, size: Size, modifiedAt: LastModified.getTime() };
    }
    const next: string | undefined = page.IsTruncated ? page.NextContinuationToken : undefined;
    after = next === after ? undefined : next;
  } while (after !== undefined);
}
