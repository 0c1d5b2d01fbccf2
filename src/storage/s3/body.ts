// The bytes of one object as they come off the socket.
import { on } from "node:events";
import type { Readable } from "node:stream";
import type { StoreError } from "../../ports/blobs.ts";

/** Chunks (of at most 64 KiB) held for a reader that is behind; then S3 is made to wait. */
const readAhead = 4;

export interface S3BodyOptions {
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
export function s3Body(source: Readable, options: S3BodyOptions): AsyncIterable<Buffer> {
  const { signal } = options;
  const abort = (): void => void source.destroy(new DOMException("the caller gave up", "AbortError"));
  // Before somebody reads, an error has nobody else to listen for it.
  source.on("error", () => {});
  source.once("close", () => signal.removeEventListener("abort", abort));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  return chunks(source, options);
}

async function* chunks(source: Readable, { expected, idle, failure }: S3BodyOptions): AsyncGenerator<Buffer> {
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
