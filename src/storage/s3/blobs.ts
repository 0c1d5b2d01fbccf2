// The blobs that the nodes of one datacenter share, in a bucket of any S3-compatible store. Nothing is opened before
// the first question, so an S3 that is down at start is found later without a restart.
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
import { backgroundTimeout, S3Bucket, type S3Surroundings } from "./bucket.ts";
import { type Evicted, evictOldest } from "./eviction.ts";
import { digestOfObject, keysBegin, objectKey, objectParameters } from "./object.ts";
import { S3Reads } from "./reads.ts";
import { sweepUploads } from "./sweep.ts";
import { S3Uploads } from "./uploads.ts";

const day = 24 * 3_600_000;
/** The largest object S3 copies in one request ("CopyObject"); larger ones keep their age. */
const largestCopy = 5 * 1024 ** 3;
/** Digests remembered as refreshed; those beyond are asked about again. */
const rememberedRefreshes = 10_000;

export interface S3BlobsOptions extends S3Surroundings {
  readonly clock: Clock;
}

export interface S3Blobs extends SharedBlobs {
  /** `closed`: S3 is asked; `open`: it is not, for it failed; `half_open`: a probe is under way. */
  readonly state: CircuitStateName;
  /** Resolves when the bucket answers. Rejects with StoreError in bounded time. */
  reach(): Promise<void>;
  /** Transfers from S3 under way, and bytes of blobs held in memory by uploads. */
  readonly load: { readonly transfers: number; readonly uploadBytes: number };
  /**
   * A URL that anybody may GET the blob with for `expirySeconds` (1 to 604,800), whether it is there or not. Asks
   * nobody but whoever has the credentials. Its query is a secret.
   */
  presign(digest: Digest, expirySeconds: number): Promise<URL>;
  /** Aborts uploads of any node begun more than a day ago; resolves with their number. */
  sweep(signal: AbortSignal): Promise<number>;
  /** Deletes blobs, longest unused first, when they have more than `maxBytes`, until they have at most 90 % of it. */
  evict(maxBytes: number, signal: AbortSignal): Promise<Evicted>;
  /** Ends probes and connections; transfers under way fail. Idempotent. */
  close(): void;
}

export function createS3Blobs(config: S3Config, options: S3BlobsOptions): S3Blobs {
  return new S3SharedBlobs(config, options);
}

class S3SharedBlobs implements S3Blobs {
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

  get state(): CircuitStateName {
    return this.#bucket.state;
  }

  get load(): S3Blobs["load"] {
    return { transfers: this.#reads.transfers, uploadBytes: this.#uploads.held };
  }

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

  /** Asks about each blob at most once a day, and copies it onto itself when it is older than that. */
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
      op: "s3.refresh",
      deed: `renew ${digest}`,
      timeout: backgroundTimeout,
      strict: false,
      // Deleted meanwhile.
      accepts: ({ status }) => status === 404,
      ask: (client, options) =>
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

  async presign(digest: Digest, expirySeconds: number): Promise<URL> {
    const { bucket: Bucket, prefix } = this.#bucket.config;
    const url = await this.#bucket.output({
      op: "s3.presign",
      deed: `sign a URL of ${digest}`,
      timeout: this.#bucket.timing.answer,
      ask: (client) =>
        getSignedUrl(client, new GetObjectCommand({ Bucket, Key: objectKey(prefix, digest) }), {
          expiresIn: expirySeconds,
        }),
    });
    return new URL(url);
  }

  sweep(signal: AbortSignal): Promise<number> {
    return sweepUploads(this.#bucket, this.#clock, signal);
  }

  evict(maxBytes: number, signal: AbortSignal): Promise<Evicted> {
    const list = (signal: AbortSignal) => listBlobs(this.#bucket, signal);
    return evictOldest({ list, delete: (digest, signal) => this.#delete(digest, signal) }, maxBytes, signal);
  }

  close(): void {
    this.#bucket.close();
  }

  async #delete(digest: Digest, signal?: AbortSignal): Promise<boolean> {
    const { bucket: Bucket, prefix } = this.#bucket.config;
    const { refusal } = await this.#bucket.ask({
      op: "s3.delete",
      deed: `delete ${digest}`,
      timeout: backgroundTimeout,
      signal,
      strict: false,
      accepts: ({ status }) => status === 404,
      ask: (client, options) =>
        client.send(new DeleteObjectCommand({ Bucket, Key: objectKey(prefix, digest) }), options),
    });
    // S3 answers 204 whether there was something or not.
    return refusal === undefined;
  }
}

/** Every blob under our prefix, in the order of the keys; other objects are passed over. Rejects with StoreError. */
async function* listBlobs(bucket: S3Bucket, signal?: AbortSignal): AsyncGenerator<BlobInfo> {
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
