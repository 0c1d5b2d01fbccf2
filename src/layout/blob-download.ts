// The bytes of one blob of a registry, over as many requests as it takes.
import type { Pause } from "../ports/clock.ts";
import { UpstreamError } from "../ports/upstream.ts";
import { isRefusal } from "../ports/upstream-answer.ts";
import type { PlannedBlob } from "./export-plan.ts";
import { LayoutError } from "./layout-error.ts";

/** Requests in a row that bring nothing, and the milliseconds before the second one; twice as many before each later one. */
const maxAttempts = 6;
const firstPause = 500;

/** Failures that the next request may not have. */
const passing: ReadonlySet<string> = new Set([
  "unreachable",
  "timeout",
  "rate_limited",
  "server_error",
  "circuit_open",
  "truncated",
]);

/**
 * Goes on from the byte it has reached when a transfer breaks. Throws UpstreamError, LayoutError for what the registry does not give,
 * and the signal's reason.
 */
export async function* downloadedBytes(
  { digest, size, remote }: PlannedBlob,
  pause: Pause,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let position = 0;
  for (let attempt = 1; position < size; attempt++) {
    signal.throwIfAborted();
    try {
      const answer = await remote.registry.openBlob(remote.repository, digest, position, signal);
      if (isRefusal(answer))
        throw new LayoutError(
          "not_given",
          `the mirror does not give ${digest} of ${remote.repository}: ${answer.words?.message ?? answer.kind}`,
        );
      const before = position;
      let unwanted = position - answer.offset;
      for await (const chunk of answer.body) {
        const bytes = chunk.subarray(Math.min(unwanted, chunk.length));
        unwanted -= chunk.length - bytes.length;
        if (bytes.length === 0) continue;
        position += bytes.length;
        attempt = 1;
        yield bytes;
      }
      if (position === before)
        throw new UpstreamError("truncated", `${digest} ends after ${position} of ${size} bytes`);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof UpstreamError && passing.has(error.code)) || attempt >= maxAttempts) throw error;
      await pause(firstPause * 2 ** (attempt - 1), signal);
    }
  }
}
