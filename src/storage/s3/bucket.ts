// One bucket. Every request to S3 goes through `ask`, which bounds its time, retries it where that can help, stops
// asking an S3 that does not work, and reports failures. The SDK's client is set up so that it does not wait, retry,
// hash or print by itself.
import { HeadBucketCommand, S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import type { S3Config } from "../../config/config.ts";
import { sdkAgents } from "../../outbound/proxied-agent.ts";
import { StoreError } from "../../ports/blobs.ts";
import { Circuit } from "../../ports/circuit.ts";
import { type Pause, realPause } from "../../ports/clock.ts";
import { withDeadline } from "../../ports/deadline.ts";
import type { CircuitStateName, NoticeSink } from "../../ports/event.ts";
import { inSpan } from "../../ports/tracing/span.ts";
import {
  isPassing,
  isUnanswered,
  refusalOf,
  S3Outage,
  type S3Refusal,
  s3Failure,
  s3Outage,
} from "./failure.ts";

/** In milliseconds. */
export interface S3Timing {
  /** For a connection; a store of the same datacenter accepts in far less. */
  readonly connect: number;
  /** For the answer to a request a client waits for. */
  readonly answer: number;
  /** Longest silence between two chunks of a body, while its reader waits. */
  readonly idle: number;
}

export const defaultTiming: S3Timing = { connect: 1_000, answer: 1_000, idle: 3_000 };
/** Milliseconds for an answer no client waits for: pages of lists, deletions, copies, the steps of an upload. */
export const backgroundTimeout = 30_000;

/** Milliseconds of the random pause before a request is sent once more, at most. */
const maxRetryPause = 70;

/** Failures in a row that open the circuit; milliseconds between probes. */
const circuitLimit = 3;
const probeInterval = 2_000;

export interface S3BucketOptions {
  readonly notices: NoticeSink;
  /** Waits between attempts and probes; time-outs use real time. Default: real time. */
  readonly pause?: Pause;
  readonly timing?: S3Timing;
  /** Called whenever the circuit changes. */
  readonly onState?: (state: CircuitStateName, previous: CircuitStateName) => void;
}

/** The `op` of notices. */
export type S3Operation =
  | "s3.open"
  | "s3.read"
  | "s3.head"
  | "s3.put"
  | "s3.refresh"
  | "s3.delete"
  | "s3.list"
  | "s3.sweep"
  | "s3.presign";

export interface S3Request<T> {
  readonly operation: S3Operation;
  /** Completes "cannot …" in messages: `read sha256:…`. */
  readonly action: string;
  readonly send: (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>;
  /** Milliseconds. */
  readonly timeout: number;
  readonly signal?: AbortSignal | undefined;
  /** Which refusals are answers to the caller, not failures. */
  readonly accepts?: (refusal: S3Refusal) => boolean;
  /** Gets an answer that comes after the request was given up. */
  readonly late?: (output: T) => void;
  /** An S3 that works may refuse it: then the circuit counts only a missing answer and "not now". Default: false. */
  readonly mayRefuse?: boolean;
}

export type S3Answer<T> =
  | { readonly output: T; readonly refusal?: undefined }
  | { readonly refusal: S3Refusal };

export class S3Bucket {
  readonly config: S3Config;
  readonly timing: S3Timing;
  readonly #client: S3Client;
  readonly #notices: NoticeSink;
  readonly #circuit: Circuit;
  readonly #pause: Pause;
  #closed = false;

  constructor(
    config: S3Config,
    { notices, pause = realPause, timing = defaultTiming, onState }: S3BucketOptions,
  ) {
    this.config = config;
    this.timing = timing;
    this.#client = createS3Client(config, timing.connect);
    this.#notices = notices;
    this.#pause = pause;
    this.#circuit = bucketCircuit({
      bucket: config.bucket,
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
   * The answer, or a refusal that the request accepts. Rejects with StoreError within the request's time, and at once
   * while the circuit is open.
   */
  async ask<T>(request: S3Request<T>): Promise<S3Answer<T>> {
    // The SDK would open new connections.
    if (this.#closed) throw new StoreError("closed", "the shared store has been closed");
    const { operation, action } = request;
    const attributes = { "aws.s3.bucket": this.config.bucket, "entrepot.action": action };
    return await inSpan(operation, attributes, () => this.#circuit.run(() => this.#ask(request)), "client");
  }

  /** As `ask`, for a request that accepts no refusal. */
  async output<T>(request: Omit<S3Request<T>, "accepts">): Promise<T> {
    const answer = await this.ask(request);
    if (answer.refusal === undefined) return answer.output;
    throw new TypeError("the request accepts no refusal");
  }

  /** Reports a failure outside `ask`, such as in the middle of a body. */
  failed(operation: S3Operation, error: StoreError): void {
    this.#notify(operation, error);
    this.#circuit.failed(error);
  }

  async #ask<T>(request: S3Request<T>): Promise<S3Answer<T>> {
    const { operation, action, send, timeout, signal, accepts, late } = request;
    try {
      const output = await withDeadline(
        { milliseconds: timeout, pause: realPause, signal, late },
        (abortSignal) => this.#sendTwice(() => send(this.#client, { abortSignal }), abortSignal),
      );
      return { output };
    } catch (error) {
      const { bucket } = this.config;
      if (signal?.aborted) throw new StoreError("unavailable", `S3 bucket ${bucket}: gave up to ${action}`);
      const refusal = refusalOf(error);
      if (refusal !== undefined && accepts?.(refusal)) return { refusal };
      const isOutage = !request.mayRefuse || isUnanswered(error);
      const failure = (isOutage ? s3Outage : s3Failure)(bucket, action, error);
      this.#notify(operation, failure);
      throw failure;
    }
  }

  /** Sends the request once more when the first failure may pass. */
  async #sendTwice<T>(send: () => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await send();
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error;
    }
    await this.#pause(maxRetryPause * Math.random(), signal);
    return await send();
  }

  #notify(operation: S3Operation, { code, message }: StoreError): void {
    this.#notices({ kind: "store_error", op: operation, code, message });
  }

  async #probe(): Promise<void> {
    const { bucket: Bucket } = this.config;
    try {
      await withDeadline({ milliseconds: this.timing.answer, pause: realPause }, (abortSignal) =>
        this.#client.send(new HeadBucketCommand({ Bucket }), { abortSignal }),
      );
    } catch (error) {
      throw s3Outage(Bucket, "be reached", error);
    }
  }
}

export interface BucketCircuitOptions {
  readonly bucket: string;
  /** Rejects while S3 does not work; within a bounded time. */
  readonly probe: () => Promise<void>;
  readonly pause: Pause;
  readonly changed?: ((state: CircuitStateName, previous: CircuitStateName) => void) | undefined;
}

/** Whether requests are sent at all. Only outages count: other errors say nothing about S3 as a whole. */
export function bucketCircuit({ bucket, probe, pause, changed }: BucketCircuitOptions): Circuit {
  return new Circuit({
    limit: circuitLimit,
    weigh: (error) => (error instanceof S3Outage ? 1 : 0),
    refusal: () =>
      new StoreError("unavailable", `S3 bucket ${bucket} has not answered lately and is not asked for now`),
    probe,
    interval: probeInterval,
    intervalFrom: "end",
    changed,
    pause,
  });
}

/**
 * Sockets to S3: enough for every request the bounds on transfers and uploads allow, so that none waits for a socket.
 */
const maxSockets = 512;

/** Opens nothing: addresses, sockets and credentials are looked up with the first request. `connectTimeout` in ms. */
function createS3Client(config: S3Config, connectTimeout: number): S3Client {
  const { endpoint, region, pathStyle } = config;
  return new S3Client({
    region,
    forcePathStyle: pathStyle,
    ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
    ...credentialsOf(config),
    // `ask` retries: no signal ends the pauses of the SDK.
    maxAttempts: 1,
    // Otherwise bodies are sent in chunks with trailers, which Ceph (411) and Swift (501) refuse.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // With it the SDK opens a new connection for each upload of 2 MiB or more.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: connectTimeout,
      // Requests and silent bodies have bounds of our own, which differ by what is waited for.
      socketTimeout: 0,
      ...agentsOf(config, connectTimeout),
    },
  });
}

function agentsOf({ proxy, endpoint, bucket, region, pathStyle }: S3Config, timeout: number) {
  const url = endpoint ?? new URL(`https://${pathStyle ? "" : `${bucket}.`}s3.${region}.amazonaws.com`);
  return sdkAgents(proxy, url, { keepAlive: true, maxSockets }, timeout);
}

/** Without a configured key pair the SDK searches the environment, its files, web identity and the instance's role. */
function credentialsOf({ credentials }: S3Config): Pick<S3ClientConfig, "credentials"> {
  if (credentials === undefined) return {};
  const { accessKeyId, secretAccessKey } = credentials;
  return {
    credentials: async () => ({
      accessKeyId: (await accessKeyId.read()).reveal(),
      secretAccessKey: (await secretAccessKey.read()).reveal(),
      // The SDK keeps credentials that do not expire for ever, but the files may change.
      expiration: new Date(),
    }),
  };
}
