// One bucket: every request to S3 goes through `ask`, which bounds it in time, tries again where that can help, stops
// asking an S3 that does not work, and tells what went wrong.
import { setTimeout as sleep } from "node:timers/promises";
import { HeadBucketCommand, S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { ExponentialBackoff, handleWhen, retry } from "cockatiel";
import type { S3Config } from "../../config/config.ts";
import { StoreError } from "../../ports/blobs.ts";
import type { Pause } from "../../ports/clock.ts";
import type { CircuitStateName, NoticeSink } from "../../ports/event.ts";
import { within } from "./deadline.ts";
import { isOutage, isPassing, refusalOf, S3Outage, type S3Refusal, s3Failure } from "./failure.ts";
import { StoreCircuit } from "./store-circuit.ts";

/** In milliseconds. */
export interface S3Timing {
  /** For a connection; a store of the same datacenter accepts in far less. */
  readonly connect: number;
  /** What an S3 that answers nothing costs whoever asks it for a blob. */
  readonly answer: number;
  /** Longest silence between two chunks of a body, while somebody waits for one. */
  readonly idle: number;
}

const usualTiming: S3Timing = { connect: 1_000, answer: 1_000, idle: 3_000 };
/** The same for what nobody waits for: pages of lists, deletions, copies, the steps of an upload. */
export const backgroundTimeout = 30_000;

/** Tries in all of one question; after the first with a random pause, in milliseconds. */
const tries = 2;
const backoff = { initialDelay: 50, maxDelay: 250 };

export interface S3Surroundings {
  readonly notices: NoticeSink;
  /** Default: real time. */
  readonly pause?: Pause;
  readonly timing?: S3Timing;
  /** Told whenever the circuit changes. */
  readonly onState?: (state: CircuitStateName, previous: CircuitStateName) => void;
}

/** Names for notices. */
export type S3Op =
  | "s3.open"
  | "s3.read"
  | "s3.head"
  | "s3.put"
  | "s3.refresh"
  | "s3.delete"
  | "s3.list"
  | "s3.sweep"
  | "s3.presign";

export interface Question<T> {
  readonly op: S3Op;
  /** Completes "cannot …" in messages: `read sha256:…`. */
  readonly deed: string;
  readonly ask: (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>;
  readonly timeout: number;
  readonly signal?: AbortSignal | undefined;
  /** Refusals that are answers to the caller. */
  readonly accepts?: (refusal: S3Refusal) => boolean;
  /** Gets an answer nobody waits for any more. */
  readonly late?: (output: T) => void;
  /** False for what an S3 that works may refuse: then only no answer and "not now" count against it. */
  readonly strict?: boolean;
}

export type S3Answer<T> =
  | { readonly output: T; readonly refusal?: undefined }
  | { readonly refusal: S3Refusal };

const again = retry(handleWhen(isPassing), {
  maxAttempts: tries - 1,
  backoff: new ExponentialBackoff(backoff),
});

export class S3Bucket {
  readonly config: S3Config;
  readonly timing: S3Timing;
  readonly #client: S3Client;
  readonly #notices: NoticeSink;
  readonly #circuit: StoreCircuit;
  #closed = false;

  constructor(config: S3Config, { notices, pause = wait, timing = usualTiming, onState }: S3Surroundings) {
    this.config = config;
    this.timing = timing;
    this.#client = createS3Client(config, timing.connect);
    this.#notices = notices;
    this.#circuit = new StoreCircuit({
      store: `S3 bucket ${config.bucket}`,
      isOutage: (error) => error instanceof S3Outage,
      probe: () => this.#probe(),
      pause,
      changed: onState,
    });
  }

  get state(): CircuitStateName {
    return this.#circuit.state;
  }

  /** Ends the probes and closes all connections. */
  close(): void {
    this.#closed = true;
    this.#circuit.close();
    this.#client.destroy();
  }

  /**
   * The answer, or a refusal that the question accepts. Rejects with StoreError within the question's time; at once
   * while S3 is known not to work.
   */
  async ask<T>(question: Question<T>): Promise<S3Answer<T>> {
    // The SDK would open new connections.
    if (this.#closed) throw new StoreError("closed", "the shared store has been closed");
    return await this.#circuit.run(() => this.#ask(question));
  }

  /** As `ask`, of what S3 may not refuse. */
  async output<T>(question: Omit<Question<T>, "accepts">): Promise<T> {
    const answer = await this.ask(question);
    if (answer.refusal === undefined) return answer.output;
    throw new TypeError("no refusal was to be accepted");
  }

  /** A failure met outside `ask`, such as in the middle of a body. */
  failed(op: S3Op, error: StoreError): void {
    this.#tell(op, error);
    this.#circuit.failed(error);
  }

  /** A signer and what else needs the client without asking S3 anything. */
  get client(): S3Client {
    return this.#client;
  }

  async #ask<T>(question: Question<T>): Promise<S3Answer<T>> {
    const { op, deed, ask, timeout, signal, accepts, late } = question;
    try {
      const output = await within({ timeout, signal, late }, (abortSignal) =>
        again.execute(() => ask(this.#client, { abortSignal }), abortSignal),
      );
      return { output };
    } catch (error) {
      const { bucket } = this.config;
      if (signal?.aborted) throw new StoreError("unavailable", `S3 bucket ${bucket}: gave up to ${deed}`);
      const refusal = refusalOf(error);
      if (refusal !== undefined && accepts?.(refusal)) return { refusal };
      const failure = s3Failure(bucket, deed, error, question.strict !== false || isOutage(error));
      this.#tell(op, failure);
      throw failure;
    }
  }

  #tell(op: S3Op, { code, message }: StoreError): void {
    this.#notices({ kind: "store_error", op, code, message });
  }

  async #probe(): Promise<void> {
    const { bucket: Bucket } = this.config;
    try {
      await within({ timeout: this.timing.answer, signal: undefined, late: undefined }, (abortSignal) =>
        this.#client.send(new HeadBucketCommand({ Bucket }), { abortSignal }),
      );
    } catch (error) {
      throw s3Failure(Bucket, "be reached", error, true);
    }
  }
}

const wait: Pause = (milliseconds, signal) => sleep(milliseconds, undefined, { signal });

/** Sockets to S3: one for each request the bucket's own bounds let through, so that none ever waits for a socket. */
const maxSockets = 512;

/**
 * The client. Opens nothing: addresses, sockets and credentials are looked up with the first request. `connectTimeout`
 * in milliseconds.
 */
function createS3Client(config: S3Config, connectTimeout: number): S3Client {
  const { endpoint, region, pathStyle } = config;
  return new S3Client({
    region,
    forcePathStyle: pathStyle,
    ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
    ...credentialsOf(config),
    // One layer retries (s3-bucket.ts): the SDK's own pauses hear of no signal.
    maxAttempts: 1,
    // Otherwise bodies are sent in chunks with trailers, which Ceph (411) and Swift (501) refuse.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // With it the SDK opens a new connection for each upload of 2 MiB or more.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: connectTimeout,
      // Whole requests and silent bodies have bounds of ours, which know what they wait for.
      socketTimeout: 0,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets },
    },
  });
}

/** Without a key pair of our own the SDK's chain (environment, files, web identity, instance role) is asked. */
function credentialsOf({ credentials }: S3Config): Pick<S3ClientConfig, "credentials"> {
  if (credentials === undefined) return {};
  const { accessKeyId, secretAccessKey } = credentials;
  return {
    credentials: async () => ({
      accessKeyId: (await accessKeyId.read()).reveal(),
      secretAccessKey: (await secretAccessKey.read()).reveal(),
      // The SDK keeps what does not expire for ever, and the files may change.
      expiration: new Date(),
    }),
  };
}
