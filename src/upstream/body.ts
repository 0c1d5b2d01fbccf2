// Reading what upstream sends: small bodies whole and bounded, blobs chunk by chunk, the rest thrown away.
import type { Readable } from "node:stream";
import type { Pacer } from "../ports/upstream.ts";
import { asUpstreamError } from "./failure.ts";

/** Most bytes of an unwanted answer that are read to keep its connection; then the connection is closed. */
const discardLimit = 64 * 1024;
const discardTimeout = 5_000;
/**
 * Received bytes a blob body holds for a reader that is behind; then upstream has to wait. More would only grow old here,
 * and V8 frees old garbage late.
 */
const readAhead = 64 * 1024;
/** Bytes between two reports of progress. */
const reportEvery = 8 * 1024 * 1024;

/** Milliseconds a small body may take in all, in proportion to the configured idle time-out. */
export function smallBodyTimeout(idleTimeout: number): number {
  return 4 * idleTimeout;
}

export interface SmallBody {
  /** For messages. */
  readonly upstream: string;
  /** Most bytes read. */
  readonly limit: number;
  /** Milliseconds for all of it: the connection's idle time-out alone would let a trickle go on for ever. */
  readonly timeout: number;
}

/**
 * The whole body when it has at most `limit` bytes; undefined, and the transfer ended, when it has more. Rejects
 * with UpstreamError.
 */
export async function readSmallBody(
  body: Readable,
  { upstream, limit, timeout }: SmallBody,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => {
    body.destroy(lateError(timeout));
  }, timeout);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > limit) return undefined;
      chunks.push(chunk);
    }
  } catch (error) {
    throw asUpstreamError(error, "body", upstream);
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks, length);
}

function lateError(timeout: number): Error {
  return Object.assign(new Error(`body not complete after ${timeout} ms`), { code: "ETIMEDOUT" });
}

/**
 * The whole body when it has at most `limit` bytes; otherwise its chunks up to the one that goes beyond, and the body can
 * be read on from there. Rejects as the body does, and when it is not complete after `timeout` milliseconds.
 */
export async function readBeginning(
  body: BlobBody,
  limit: number,
  timeout: number,
): Promise<{ readonly complete: boolean; readonly chunks: readonly Buffer[] }> {
  const chunks: Buffer[] = [];
  if (limit === 0) return { complete: false, chunks };
  const timer = setTimeout(() => body.late(timeout), timeout);
  try {
    for (let length = 0; length <= limit; ) {
      const { done, value } = await body.next();
      if (done === true) return { complete: true, chunks };
      chunks.push(value);
      length += value.length;
    }
    return { complete: false, chunks };
  } finally {
    clearTimeout(timer);
  }
}

/** Gets rid of a body in the background: reads a short one, destroys the connection of a long or slow one. */
export function discard(body: Readable): void {
  let length = 0;
  const timer = setTimeout(() => body.destroy(), discardTimeout).unref();
  body.once("close", () => clearTimeout(timer));
  body.on("error", () => {});
  body.on("data", (chunk: Buffer) => {
    length += chunk.length;
    if (length > discardLimit) body.destroy();
  });
}

export interface BlobBodyOptions {
  /** Bytes the body must have; undefined when upstream did not say. */
  readonly expected: number | undefined;
  /** Makes the error to reject with from what the stream threw; from undefined for a body of another length. */
  readonly failure: (cause: unknown) => Error;
  /** Called in steps of 8 MiB and at the end with the bytes received since the last call. */
  readonly received: (bytes: number) => void;
  /** Left out: nothing holds the reader back. */
  readonly pacer?: Pacer | undefined;
}

/**
 * The chunks of one blob transfer as they came off the socket: not copied, not joined, at most 64 KiB and one chunk
 * ahead of the reader. It is iterated once. Received chunks are handed out before an error is. Leaving the iteration
 * early destroys the connection. Idle time-outs are the connection's (bodyTimeout in connection-options.ts).
 *
 * Iterating a Readable directly joins buffered chunks into new memory, hence the events.
 */
export class BlobBody implements AsyncIterableIterator<Buffer> {
  readonly #source: Readable;
  readonly #options: BlobBodyOptions;
  readonly #chunks: Buffer[] = [];
  #held = 0;
  #total = 0;
  #reported = 0;
  #started = false;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(source: Readable, options: BlobBodyOptions) {
    this.#source = source;
    this.#options = options;
    source.on("error", (error) => this.#end(() => options.failure(error)));
    source.on("close", () => this.#endOfSource());
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    if (!this.#started) this.#start();
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        // Still held: what comes meanwhile is at most what may be ahead of any reader.
        const turn = this.#options.pacer?.came(chunk.length);
        if (turn !== undefined) await turn;
        this.#held -= chunk.length;
        if (this.#held < readAhead / 2 && this.#source.isPaused()) this.#source.resume();
        return { done: false, value: chunk };
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) {
        this.#options.pacer?.over();
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Ends the transfer, because it was not complete after `timeout` milliseconds. */
  late(timeout: number): void {
    this.#source.destroy(lateError(timeout));
  }

  async return(): Promise<IteratorResult<Buffer, undefined>> {
    this.#chunks.length = 0;
    this.#end(() => undefined);
    this.#options.pacer?.over();
    this.#source.destroy();
    return { done: true, value: undefined };
  }

  #start(): void {
    this.#started = true;
    this.#source.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#held += chunk.length;
      this.#total += chunk.length;
      if (this.#held >= readAhead) this.#source.pause();
      if (this.#total - this.#reported >= reportEvery) this.#report();
      this.#wakeUp();
    });
    this.#source.on("end", () => this.#endOfSource());
  }

  #endOfSource(): void {
    const { expected, failure } = this.#options;
    const complete = this.#source.readableEnded && (expected === undefined || this.#total === expected);
    this.#end(() => (complete ? undefined : failure(undefined)));
  }

  #end(error: () => Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error();
    // What has come is handed out without delay.
    if (this.#error !== undefined) this.#options.pacer?.over();
    this.#report();
    this.#wakeUp();
  }

  #report(): void {
    if (this.#total > this.#reported) this.#options.received(this.#total - this.#reported);
    this.#reported = this.#total;
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
