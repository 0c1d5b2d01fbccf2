// One request over undici, with failures as UpstreamErrors.
import type { Dispatcher } from "undici";
import { asUpstreamError } from "./failure.ts";

/**
 * The answer's head, with a body that must be read to its end or destroyed. Sent twice only when a kept connection
 * turned out to be closed. Rejects with UpstreamError, or with the signal's reason. `upstream` is for messages.
 */
export async function dispatch(
  dispatcher: Dispatcher,
  options: Dispatcher.RequestOptions<null>,
  upstream: string,
): Promise<Dispatcher.ResponseData<null>> {
  const signal = options.signal as AbortSignal | null | undefined;
  for (let retried = false; ; retried = true) {
    try {
      const answer = await dispatcher.request(options);
      // A body that breaks before anybody listens to it must not end the process.
      answer.body.on("error", () => {});
      return answer;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (retried || !wasIdleConnection(error)) throw asUpstreamError(error, "head", upstream);
    }
  }
}

/** The outcome of `work`, which goes on for others who wait for it, or the signal's reason when it aborts first. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * Upstream closed a kept-alive connection at the moment it was used again: it had answered before on it, and not at
 * all now. Such a request may be sent once more (RFC 9112, section 9.3.1).
 */
function wasIdleConnection(error: unknown): boolean {
  const { code, socket } = error as { code?: unknown; socket?: { bytesRead?: number } | null };
  return code === "UND_ERR_SOCKET" && (socket?.bytesRead ?? 0) > 0;
}
