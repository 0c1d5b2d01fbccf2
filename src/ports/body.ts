// Reading a body that comes over a connection, with a bound on the sender's silence.
import { on } from "node:events";
import type { Readable } from "node:stream";

/** Chunks (of at most 64 KiB off a socket) that are held for a reader that is behind; then the sender has to wait. */
const readAhead = 4;

/**
 * The chunks of `source` as they come, not copied. Rejects with the error the source fails with: with that of `silent`
 * after `idle` milliseconds without a chunk, in which the time the reader takes does not count, and with another one when
 * the source closes before its end. Leaving the iteration early destroys the source.
 */
export async function* bodyChunks(
  source: Readable,
  idle: number,
  silent: () => Error,
): AsyncGenerator<Buffer> {
  const wait = (): NodeJS.Timeout => setTimeout(() => source.destroy(silent()), idle);
  let timer = wait();
  try {
    // Iterating the stream itself would copy what is buffered into one new buffer.
    const events = on(source, "data", {
      close: ["end", "close"],
      highWaterMark: readAhead,
      lowWaterMark: readAhead / 2,
    });
    // A stream that failed or closed before it was read emits nothing more.
    if (source.destroyed) throw source.errored ?? closedEarly();
    for await (const [chunk] of events as AsyncIterable<[Buffer]>) {
      clearTimeout(timer);
      yield chunk;
      timer = wait();
    }
    if (!source.readableEnded) throw source.errored ?? closedEarly();
  } finally {
    clearTimeout(timer);
    source.destroy();
  }
}

function closedEarly(): Error {
  return new Error("the connection closed before the end of the body");
}
