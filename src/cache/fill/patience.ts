// How long a broken transfer is taken up again.
import { UpstreamError, type UpstreamErrorCode } from "../../ports/upstream.ts";

/** Transfers in a row that may break having brought less than `progress` bytes each. */
const maxAttempts = 5;
const progress = 64 * 1024;
/** Milliseconds before the second transfer; twice as long before each one after it, longer when upstream says so. */
const firstPause = 100;
const longestPause = 60_000;
/**
 * Milliseconds in all that a transfer waits, without progress, for an upstream that is known not to answer. The usual
 * clients have a bound of their own for a pull that stands still.
 */
const outagePatience = 5 * 60_000;
/** Between two looks at such an upstream, when nobody says when the next probe is; and the least. */
const usualOutagePause = 2_000;
const shortestOutagePause = 500;

/** What may be over when we ask again. */
const passing: ReadonlySet<UpstreamErrorCode> = new Set([
  "truncated",
  "unreachable",
  "timeout",
  "server_error",
  "rate_limited",
]);

export class Patience {
  #attempt = 0;
  #reached = 0;
  #waited = 0;

  /**
   * Milliseconds to wait before the transfer goes on from `received` bytes, after it failed with `error`; undefined
   * to give up.
   */
  after(error: unknown, received: number): number | undefined {
    if (received - this.#reached >= progress) {
      this.#attempt = 0;
      this.#waited = 0;
    }
    this.#reached = received;
    if (!(error instanceof UpstreamError)) return undefined;
    const asked = error.retryAfter === undefined ? undefined : error.retryAfter * 1000;
    if (error.code === "circuit_open" && received > 0) return this.#throughOutage(asked);
    this.#attempt++;
    if (!this.#mayGoOn(error.code, received)) return undefined;
    return Math.min(Math.max(firstPause * 2 ** (this.#attempt - 1), asked ?? 0), longestPause);
  }

  /** Before the first byte one more try repairs a connection upstream had closed; clients are waiting for more. */
  #mayGoOn(code: UpstreamErrorCode, received: number): boolean {
    if (received === 0) return this.#attempt === 1 && (code === "truncated" || code === "unreachable");
    return passing.has(code) && this.#attempt < maxAttempts;
  }

  /** Nothing was sent, so no attempt is spent; and those before it were spent on an upstream that was going down. */
  #throughOutage(asked: number | undefined): number | undefined {
    const wait = Math.min(Math.max(asked ?? usualOutagePause, shortestOutagePause), longestPause);
    if (this.#waited + wait > outagePatience) return undefined;
    this.#attempt = 0;
    this.#waited += wait;
    return wait;
  }
}
