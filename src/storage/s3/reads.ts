// Blobs out of S3: what is there, and its bytes from any offset on.
import { on } from "node:events";
import type { Readable } from "node:stream";
import {
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
} from "@aws-sdk/client-s3";
import type { Digest } from "../../oci/digest.ts";
import { StoreError } from "../../ports/blobs.ts";
import type { SharedBlob } from "../../ports/shared.ts";
import type { S3Bucket } from "./bucket.ts";
import { s3Failure, s3Lie } from "./failure.ts";
import { mediaTypeOf, objectKey } from "./object.ts";

/** Transfers at once; more are refused, and their callers go to upstream. */
const maxTransfers = 256;
/** Chunks (of at most 64 KiB) held for a reader that is behind; then S3 is made to wait. */
const readAhead = 4;

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
    const deed = `look for ${digest}`;
    const answer = await this.#bucket.ask({
      op: "s3.head",
      deed,
      timeout: this.#bucket.timing.answer,
      accepts: ({ status }) => status === 404,
      ask: (client, options) =>
        client.send(new HeadObjectCommand({ Bucket, Key: this.#key(digest) }), options),
    });
    if (answer.refusal !== undefined) {
      await this.findBucket();
      return undefined;
    }
    const { ContentLength: size, ContentType, LastModified } = answer.output;
    if (size === undefined) throw this.#lie("s3.head", deed, "it named no length");
    return { size, mediaType: mediaTypeOf(ContentType), modifiedAt: LastModified?.getTime() ?? 0 };
  }

  /** To HEAD, a key that is not there and a bucket that is not there have the same answer. Rejects with StoreError. */
  async findBucket(): Promise<void> {
    const { bucket: Bucket } = this.#bucket.config;
    await this.#bucket.output({
      op: "s3.head",
      deed: "find the bucket",
      timeout: this.#bucket.timing.answer,
      ask: (client, options) => client.send(new HeadBucketCommand({ Bucket }), options),
    });
  }

  /** Undefined only when S3 says that the key is not there; without the bucket nothing is known of it. */
  async #get(digest: Digest, from: number, signal: AbortSignal): Promise<GetObjectCommandOutput | undefined> {
    const input = { Bucket: this.#bucket.config.bucket, Key: this.#key(digest) };
    const command = from === 0 ? input : { ...input, Range: `bytes=${from}-` };
    const answer = await this.#bucket.ask({
      op: "s3.open",
      deed: `read ${digest}`,
      timeout: this.#bucket.timing.answer,
      signal,
      accepts: ({ status, code }) => (status === 404 && code === "NoSuchKey") || status === 416,
      late: ({ Body }: GetObjectCommandOutput) => void (Body as unknown as Readable).destroy(),
      ask: (client, options) => client.send(new GetObjectCommand(command), options),
    });
    if (answer.refusal === undefined) return answer.output;
    if (answer.refusal.status === 404) return undefined;
    throw this.#lie("s3.open", `read ${digest}`, `it is shorter than the ${from} bytes read before`);
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
      throw this.#lie("s3.open", `read ${digest} from ${from}`, "it answered with another range");
    }
    const failure = (cause: unknown): StoreError => {
      const { bucket } = this.#bucket.config;
      if (signal.aborted)
        return new StoreError("unavailable", `S3 bucket ${bucket}: gave up to read ${digest}`);
      const error = s3Failure(bucket, `read ${digest} to its end`, cause, true);
      this.#bucket.failed("s3.read", error);
      return error;
    };
    const body = bodyOf(source, { expected: size - from, idle: this.#bucket.timing.idle, signal, failure });
    const { ContentType, LastModified } = output;
    return { size, mediaType: mediaTypeOf(ContentType), modifiedAt: LastModified?.getTime() ?? 0, body };
  }

  #lie(op: "s3.open" | "s3.head", deed: string, why: string): StoreError {
    const error = s3Lie(this.#bucket.config.bucket, deed, why);
    this.#bucket.failed(op, error);
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
  /** Bytes there have to be. */
  readonly expected: number;
  /** Longest silence in milliseconds, while somebody waits. */
  readonly idle: number;
  /** Destroys the transfer, whether it is being read or not. */
  readonly signal: AbortSignal;
  /** Makes the error to reject with of what went wrong; told once. */
  readonly failure: (cause: unknown) => StoreError;
}

/**
 * The chunks of `source`, not copied. Rejects with what `failure` makes, also of a body of another length. Leaving
 * the iteration early destroys the connection.
 */
function bodyOf(source: Readable, options: BodyOptions): AsyncIterable<Buffer> {
  const { signal } = options;
  const abort = (): void => void source.destroy(new DOMException("the caller gave up", "AbortError"));
  // Before somebody reads, an error has nobody else to listen for it.
  source.on("error", () => {});
  source.once("close", () => signal.removeEventListener("abort", abort));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  return chunks(source, options);
}

async function* chunks(source: Readable, { expected, idle, failure }: BodyOptions): AsyncGenerator<Buffer> {
  const silence = (): void => void source.destroy(new DOMException(`silent for ${idle} ms`, "TimeoutError"));
  let timer = setTimeout(silence, idle);
  let received = 0;
  try {
    // Iterating the stream itself would join what is buffered into new memory.
    const events = on(source, "data", {
      close: ["end", "close"],
      highWaterMark: readAhead,
      lowWaterMark: readAhead / 2,
    });
    // A stream that failed before it was read tells nobody again.
    if (source.errored !== null) throw source.errored;
    for await (const [chunk] of events as AsyncIterable<[Buffer]>) {
      clearTimeout(timer);
      received += chunk.length;
      if (received > expected) throw new RangeError(`more than ${expected} bytes`);
      yield chunk;
      timer = setTimeout(silence, idle);
    }
    if (received < expected) throw new RangeError(`${received} of ${expected} bytes`);
  } catch (error) {
    throw failure(error);
  } finally {
    clearTimeout(timer);
    source.destroy();
  }
}
