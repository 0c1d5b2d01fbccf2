// Request bodies nobody wants are read away, within bounds: a connection that ends before they have come is reset,
// and the client does not see its answer.
import type { IncomingMessage } from "node:http";

export interface DiscardBounds {
  /** Bytes read at most. */
  readonly bytes: number;
  /** Milliseconds. */
  readonly within: number;
}

/** For bodies of requests that are answered without them. */
export const unwanted: DiscardBounds = { bytes: 1024 * 1024, within: 30_000 };
/** For bodies given up half-way: what client and kernels have under way by then, even over a fast link. */
export const abandoned: DiscardBounds = { bytes: 16 * 1024 * 1024, within: 5_000 };

const discards = new WeakMap<IncomingMessage, Promise<void>>();

/** Whether the request announces a body. Reads have none; theirs is never stored or passed on. */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

/**
 * Reads the rest of the body away; beyond the bounds the connection ends. Resolves when the body has come to its end
 * or its connection has. The first call counts.
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
