// Reading blobs from S3: whether they are there, and their bytes from any offset on.
import type { Readable } from "node:stream";
import {
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
} from "@aws-sdk/client-s3";
import type { Digest } from "../../oci/digest.ts";
import { StoreError } from "../../ports/blobs.ts";
import { bodyChunks } from "../../ports/body.ts";
import type { SharedBlob } from "../../ports/shared.ts";
import type { S3Bucket } from "./bucket.ts";
import { s3Outage, s3ProtocolError } from "./failure.ts";
import { mediaTypeOf, objectKey } from "./object.ts";

/** Transfers at once; more are refused, and their callers ask upstream. */
const maxTransfers = 256;

export class S3Reads {
  readonly #bucket: S3Bucket;
  #transfers = 0;

  constructor(bucket: S3Bucket) {
    this.#bucket = bucket;
  }

  /** Transfers under way. */
  get transfers(): number {
    return this.#transfers;
  }

  /** As SharedBlobs.open. */
  async open(digest: Digest, from: number, signal: AbortSignal): Promise<SharedBlob | undefined> {
    if (this.#transfers >= maxTransfers) {
      throw new StoreError("unavailable", `${maxTransfers} transfers from S3 are under way already`);
    }
    this.#transfers++;
    let started = false;
    try {
      const output = await this.#get(digest, from, signal);
      if (output === undefined) return undefined;
      const source = output.Body as unknown as Readable;
      source.once("close", () => this.#transfers--);
      started = true;
      return this.#blob(digest, from, signal, output, source);
    } finally {
      if (!started) this.#transfers--;
    }
  }

  /** As SharedBlobs.head. */
  async head(digest: Digest): Promise<Omit<SharedBlob, "body"> | undefined> {
    const { bucket: Bucket } = this.#bucket.config;
    const action = `look for ${digest}`;
    const answer = await this.#bucket.ask({
      operation: "s3.head",
      action,
      timeout: this.#bucket.timing.answer,
      accepts: ({ status }) => status === 404,
      send: (client, options) =>
        client.send(new HeadObjectCommand({ Bucket, Key: this.#key(digest) }), options),
    });
    if (answer.refusal !== undefined) {
      await this.findBucket();
      return undefined;
    }
    const { ContentLength: size, ContentType, LastModified } = answer.output;
    if (size === undefined) throw this.#protocolError("s3.head", action, "it named no length");
    return { size, mediaType: mediaTypeOf(ContentType), modifiedAt: LastModified?.getTime() ?? 0 };
  }

  /** Because HEAD answers the same for a missing key and a missing bucket. Rejects with StoreError. */
  async findBucket(): Promise<void> {
    const { bucket: Bucket } = this.#bucket.config;
    await this.#bucket.output({
      operation: "s3.head",
      action: "find the bucket",
      timeout: this.#bucket.timing.answer,
      send: (client, options) => client.send(new HeadBucketCommand({ Bucket }), options),
    });
  }

  /** Undefined only when S3 says that the key is not there: a missing bucket is a failure. */
  async #get(digest: Digest, from: number, signal: AbortSignal): Promise<GetObjectCommandOutput | undefined> {
    const input = { Bucket: this.#bucket.config.bucket, Key: this.#key(digest) };
    const command = from === 0 ? input : { ...input, Range: `bytes=${from}-` };
    const answer = await this.#bucket.ask({
      operation: "s3.open",
      action: `read ${digest}`,
      timeout: this.#bucket.timing.answer,
      signal,
      accepts: ({ status, code }) => (status === 404 && code === "NoSuchKey") || status === 416,
      late: ({ Body }: GetObjectCommandOutput) => void (Body as unknown as Readable).destroy(),
      send: (client, options) => client.send(new GetObjectCommand(command), options),
    });
    if (answer.refusal === undefined) return answer.output;
    if (answer.refusal.status === 404) return undefined;
    throw this.#protocolError(
      "s3.open",
      `read ${digest}`,
      `it is shorter than the ${from} bytes read before`,
    );
  }

  #blob(
    digest: Digest,
    from: number,
    signal: AbortSignal,
    output: GetObjectCommandOutput,
    source: Readable,
  ): SharedBlob {
    const size = sizeOf(output, from);
    if (size === undefined) {
      source.on("error", () => {});
      source.destroy();
      throw this.#protocolError("s3.open", `read ${digest} from ${from}`, "it answered with another range");
    }
    const failure = (cause: unknown): StoreError => {
      const { bucket } = this.#bucket.config;
      if (signal.aborted)
        return new StoreError("unavailable", `S3 bucket ${bucket}: gave up to read ${digest}`);
      const error = s3Outage(bucket, `read ${digest} to its end`, cause);
      this.#bucket.failed("s3.read", error);
      return error;
    };
    const body = bodyOf(source, { expected: size - from, idle: this.#bucket.timing.idle, signal, failure });
    const { ContentType, LastModified } = output;
    return { size, mediaType: mediaTypeOf(ContentType), modifiedAt: LastModified?.getTime() ?? 0, body };
  }

  #protocolError(operation: "s3.open" | "s3.head", action: string, reason: string): StoreError {
    const error = s3ProtocolError(this.#bucket.config.bucket, action, reason);
    this.#bucket.failed(operation, error);
    return error;
  }

  #key(digest: Digest): string {
    return objectKey(this.#bucket.config.prefix, digest);
  }
}

/** Bytes of the whole blob; undefined when the answer is not its bytes from `from` to the end (RFC 9110, 14.4). */
function sizeOf(
  { $metadata, ContentLength, ContentRange }: GetObjectCommandOutput,
  from: number,
): number | undefined {
  if (ContentLength === undefined) return undefined;
  if (from === 0) return $metadata.httpStatusCode === 200 ? ContentLength : undefined;
  const [, first, last, whole] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(ContentRange ?? "") ?? [];
  const size = Number(whole);
  const right = Number(first) === from && Number(last) === size - 1 && ContentLength === size - from;
  return $metadata.httpStatusCode === 206 && right ? size : undefined;
}

interface BodyOptions {
  /** Bytes the body must have. */
  readonly expected: number;
  /** Longest silence in milliseconds, while the reader waits. */
  readonly idle: number;
  /** Ends the transfer, whether it is being read or not. */
  readonly signal: AbortSignal;
  /** Makes the error to reject with from its cause; called once. */
  readonly failure: (cause: unknown) => StoreError;
}

/**
 * The chunks of `source`, not copied. Rejects with what `failure` makes, also when the length is not `expected`.
 * Leaving the iteration early destroys the connection.
 */
function bodyOf(source: Readable, options: BodyOptions): AsyncIterable<Buffer> {
  const { signal } = options;
  const abort = (): void => void source.destroy(new DOMException("the caller gave up", "AbortError"));
  // Nothing else listens for errors before the body is read.
  source.on("error", () => {});
  source.once("close", () => signal.removeEventListener("abort", abort));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  return chunks(source, options);
}

async function* chunks(source: Readable, { expected, idle, failure }: BodyOptions): AsyncGenerator<Buffer> {
  const silent = (): Error => new DOMException(`silent for ${idle} ms`, "TimeoutError");
  let received = 0;
  try {
    for await (const chunk of bodyChunks(source, idle, silent)) {
      received += chunk.length;
      if (received > expected) throw new RangeError(`more than ${expected} bytes`);
      yield chunk;
    }
    if (received < expected) throw new RangeError(`${received} of ${expected} bytes`);
  } catch (error) {
    throw failure(error);
  }
}
