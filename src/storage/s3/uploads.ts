// Uploads of verified blobs to S3: small ones in one request, large ones in parts. The object appears only when all of
// it is there and its hash is the digest.
import { HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/digest.ts";
import { backgroundTimeout, type S3Bucket } from "./bucket.ts";
import { ByteBudget } from "./byte-budget.ts";
import { ConditionalWrites, isConditionAnswer } from "./conditional.ts";
import { uploadInParts } from "./multipart.ts";
import { objectKey, objectParameters } from "./object.ts";
import {
  bodyTimeout,
  maxUploadMemory,
  minCharge,
  partSize,
  payloadHash,
  payloadHashStep,
  S3Source,
  type S3Upload,
} from "./upload-source.ts";

export class S3Uploads {
  readonly #bucket: S3Bucket;
  readonly #conditional = new ConditionalWrites();
  readonly #budget = new ByteBudget(maxUploadMemory);

  constructor(bucket: S3Bucket) {
    this.#bucket = bucket;
  }

  /** Bytes of blobs held now. */
  get held(): number {
    return this.#budget.used;
  }

  async put(upload: S3Upload): Promise<void> {
    if (upload.size <= partSize) return await this.#putWhole(upload);
    if (await this.#exists(upload)) return;
    const shared = { bucket: this.#bucket, budget: this.#budget, conditional: this.#conditional };
    await uploadInParts(upload, { ...shared, exists: () => this.#exists(upload) });
  }

  async #putWhole(upload: S3Upload): Promise<void> {
    const { digest, size, mediaType, blob, signal } = upload;
    const { config } = this.#bucket;
    // Without conditional writes S3 is asked first, and a blob that is there is not even read.
    if (this.#conditional.isUnsupported("put") && (await this.#exists(upload))) return;
    const release = await this.#budget.take(Math.max(size, minCharge), signal);
    try {
      const source = new S3Source(blob, digest, size);
      const { bytes, sha256 } = await source.next(size);
      source.verify();
      const command = {
        Bucket: config.bucket,
        Key: objectKey(config.prefix, digest),
        Body: bytes,
        ContentLength: size,
        ...objectParameters(config, mediaType),
        ...checksum(digest),
      };
      const write = (condition: "*" | undefined) =>
        this.#bucket.ask({
          operation: "s3.put",
          action: `store ${digest}`,
          timeout: bodyTimeout(size),
          signal,
          mayRefuse: true,
          accepts: isConditionAnswer,
          send: (client, options) => {
            const put = new PutObjectCommand({ ...command, ...(condition && { IfNoneMatch: condition }) });
            put.middlewareStack.add(payloadHash(sha256), payloadHashStep);
            return client.send(put, options);
          },
        });
      await this.#conditional.run("put", write, () => this.#exists(upload), signal);
    } finally {
      release();
    }
  }

  /** Whether the whole blob is there. An object of another size does not count: it is overwritten. */
  async #exists({ digest, size, signal }: S3Upload): Promise<boolean> {
    const { bucket: Bucket, prefix } = this.#bucket.config;
    const answer = await this.#bucket.ask({
      operation: "s3.put",
      action: `look for ${digest}`,
      timeout: backgroundTimeout,
      signal,
      mayRefuse: true,
      accepts: ({ status }) => status === 404,
      send: (client, options) =>
        client.send(new HeadObjectCommand({ Bucket, Key: objectKey(prefix, digest) }), options),
    });
    return answer.refusal === undefined && answer.output.ContentLength === size;
  }
}

/** S3 compares it with the hash of what it received, and refuses the object when they differ. It knows no sha512. */
function checksum(digest: Digest): { readonly ChecksumSHA256?: string } {
  if (digestAlgorithm(digest) !== "sha256") return {};
  return { ChecksumSHA256: Buffer.from(digestHex(digest), "hex").toString("base64") };
}
