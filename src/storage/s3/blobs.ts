// The blobs that the nodes of a datacenter share, in a bucket of any S3-compatible store. Nothing connects before the
// first request, so an S3 that is down at the start is used later without a restart.
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { LRUCache } from "lru-cache";
import type { S3Config } from "../../config/config.ts";
import type { Digest } from "../../oci/digest.ts";
import type { BlobInfo, BlobReader } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import type { CircuitStateName } from "../../ports/event.ts";
import type { SharedBlob, SharedBlobs } from "../../ports/shared.ts";
import { backgroundTimeout, S3Bucket, type S3BucketOptions } from "./bucket.ts";
import { type Evicted, evictOldest, type KnownBlobs, type S3Room } from "./eviction.ts";
import { blobPrefix, digestOfObject, objectKey, objectParameters } from "./object.ts";
import { S3Reads } from "./reads.ts";
import { sweepUploads } from "./sweep.ts";
import { S3Uploads } from "./uploads.ts";

const day = 24 * 3_600_000;
/** The largest object S3 copies in one request ("CopyObject"); larger ones keep their age. */
const largestCopy = 5 * 1024 ** 3;
/** Digests remembered as refreshed; when they are forgotten, S3 is asked again. */
const rememberedRefreshes = 10_000;

export interface S3BlobsOptions extends S3BucketOptions {
  readonly clock: Clock;
}

export class S3Blobs implements SharedBlobs {
  readonly source = "s3";
  readonly #bucket: S3Bucket;
  readonly #reads: S3Reads;
  readonly #uploads: S3Uploads;
  readonly #clock: Clock;
  readonly #refreshed = new LRUCache<Digest, number>({ max: rememberedRefreshes });

  constructor(config: S3Config, options: S3BlobsOptions) {
    this.#bucket = new S3Bucket(config, options);
    this.#reads = new S3Reads(this.#bucket);
    this.#uploads = new S3Uploads(this.#bucket);
    this.#clock = options.clock;
  }

  /** `closed`: S3 is asked; `open`: it is not, for it failed; `half_open`: a probe is under way. */
  get state(): CircuitStateName {
    return this.#bucket.state;
  }

  /** Transfers from S3 under way, and bytes of blobs held in memory by uploads. */
  get load(): { readonly transfers: number; readonly uploadBytes: number } {
    return { transfers: this.#reads.transfers, uploadBytes: this.#uploads.held };
  }

  /** Resolves when the bucket answers. Rejects with StoreError in bounded time. */
  reach(): Promise<void> {
    return this.#reads.findBucket();
  }

  open(digest: Digest, from: number, signal: AbortSignal): Promise<SharedBlob | undefined> {
    return this.#reads.open(digest, from, signal);
  }

  head(digest: Digest): Promise<Omit<SharedBlob, "body"> | undefined> {
    return this.#reads.head(digest);
  }

  put(
    digest: Digest,
    size: number,
    mediaType: string | undefined,
    blob: Pick<BlobReader, "read">,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#uploads.put({ digest, size, mediaType, blob, signal });
  }

  /**
   * Asks about each blob at most once a day, and copies one that is older than that onto itself, which renews its age.
   */
  async refresh(digest: Digest): Promise<void> {
    const now = this.#clock();
    if (now - (this.#refreshed.get(digest) ?? Number.NEGATIVE_INFINITY) < day) return;
    this.#refreshed.set(digest, now);
    try {
      await this.#renew(digest, now);
    } catch (error) {
      this.#refreshed.delete(digest);
      throw error;
    }
  }

  async #renew(digest: Digest, now: number): Promise<void> {
    const found = await this.#reads.head(digest);
    if (found === undefined || now - found.modifiedAt < day || found.size > largestCopy) return;
    const { config } = this.#bucket;
    const Key = objectKey(config.prefix, digest);
    const input = { Bucket: config.bucket, Key, CopySource: `${config.bucket}/${encodeURI(Key)}` };
    const parameters = objectParameters(config, found.mediaType);
    await this.#bucket.ask({
      operation: "s3.refresh",
      action: `renew ${digest}`,
      timeout: backgroundTimeout,
      mayRefuse: true,
      // It was deleted meanwhile.
      accepts: ({ status }) => status === 404,
      send: (client, options) =>
        client.send(
          new CopyObjectCommand({ ...input, ...parameters, MetadataDirective: "REPLACE" }),
          options,
        ),
    });
  }

  delete(digest: Digest): Promise<boolean> {
    return this.#delete(digest);
  }

  list(): AsyncIterable<BlobInfo> {
    return listBlobs(this.#bucket);
  }

  /**
   * A URL with which anyone may GET the blob for `expirySeconds` (1 to 604,800), whether it is there or not. Its query
   * is a secret. Made here: at most the service that gives out credentials is asked.
   */
  async presign(digest: Digest, expirySeconds: number): Promise<URL> {
    const { bucket: Bucket, prefix } = this.#bucket.config;
    const url = await this.#bucket.output({
      operation: "s3.presign",
      action: `sign a URL of ${digest}`,
      timeout: this.#bucket.timing.answer,
      send: (client) =>
        getSignedUrl(client, new GetObjectCommand({ Bucket, Key: objectKey(prefix, digest) }), {
          expiresIn: expirySeconds,
        }),
    });
    return new URL(url);
  }

  /** Aborts uploads of any node begun more than a day ago; resolves with their number. */
  sweep(signal: AbortSignal): Promise<number> {
    return sweepUploads(this.#bucket, this.#clock, signal);
  }

  /** Deletes blobs when they have more than `maxBytes` (evictOldest). */
  evict(room: S3Room, signal: AbortSignal, known?: KnownBlobs): Promise<Evicted> {
    const list = (signal: AbortSignal) => listBlobs(this.#bucket, signal);
    const remove = (digest: Digest, signal: AbortSignal) => this.#delete(digest, signal);
    return evictOldest({ list, delete: remove, known }, room, signal);
  }

  /** Ends probes and connections; transfers under way fail. Idempotent. */
  close(): void {
    this.#bucket.close();
  }

  async #delete(digest: Digest, signal?: AbortSignal): Promise<boolean> {
    const { bucket: Bucket, prefix } = this.#bucket.config;
    const { refusal } = await this.#bucket.ask({
      operation: "s3.delete",
      action: `delete ${digest}`,
      timeout: backgroundTimeout,
      signal,
      mayRefuse: true,
      accepts: ({ status }) => status === 404,
      send: (client, options) =>
        client.send(new DeleteObjectCommand({ Bucket, Key: objectKey(prefix, digest) }), options),
    });
    // S3 answers 204 whether there was an object or not.
    return refusal === undefined;
  }
}

/** Every blob under the prefix, in the order of the keys, without other objects. Rejects with StoreError. */
async function* listBlobs(bucket: S3Bucket, signal?: AbortSignal): AsyncGenerator<BlobInfo> {
  const { bucket: Bucket, prefix } = bucket.config;
  let after: string | undefined;
  do {
    const input = { Bucket, Prefix: blobPrefix(prefix), ...(after && { ContinuationToken: after }) };
    const page = await bucket.output({
      operation: "s3.list",
      action: "list the blobs",
      timeout: backgroundTimeout,
      signal,
      mayRefuse: true,
      send: (client, options) => client.send(new ListObjectsV2Command(input), options),
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
