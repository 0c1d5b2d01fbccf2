// Request bodies that are not wanted are read and dropped, within bounds: if the connection ended before all of a body
// has come, it would be reset, and the client would not see its answer.
import type { IncomingMessage } from "node:http";

export interface DiscardBounds {
  /** Most bytes that are read. */
  readonly bytes: number;
  /** Milliseconds. */
  readonly within: number;
}

/** For bodies of requests that are answered without them. */
export const unwanted: DiscardBounds = { bytes: 1024 * 1024, within: 30_000 };
/** For bodies given up half-way: room for what client and kernels have in flight by then, even on a fast link. */
export const abandoned: DiscardBounds = { bytes: 16 * 1024 * 1024, within: 5_000 };

const discards = new WeakMap<IncomingMessage, Promise<void>>();

/** Whether the request announces a body. That of a read is never stored or passed on. */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

/**
 * Reads and drops the rest of the body; beyond the bounds it ends the connection. Resolves at the end of the body or of
 * the connection. Only the bounds of the first call for a request count.
 */
export function discardBody(request: IncomingMessage, bounds: DiscardBounds): Promise<void> {
  const running = discards.get(request);
  if (running !== undefined) return running;
  const { promise, resolve } = Promise.withResolvers<void>();
  discards.set(request, promise);
  request.on("error", () => {});
  if (request.complete || request.destroyed) {
    request.resume();
    resolve();
    return promise;
  }
  let left = bounds.bytes;
  const timer = setTimeout(() => request.destroy(), bounds.within).unref();
  const over = (): void => {
    clearTimeout(timer);
    resolve();
  };
  for (const event of ["end", "close"]) request.once(event, over);
  request.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.resume();
  return promise;
}
