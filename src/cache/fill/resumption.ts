// Asking upstream for a blob, and for the rest of it after a break: as a client's transfer while one reads along, else
// behind everything that clients wait for. A client that comes while the rest waits for its turn takes it along.
import type { BlobAnswer } from "../../ports/upstream-answer.ts";

/** `use` is given when nobody waits for the bytes. */
export type OpenFrom = (from: number, signal: AbortSignal, use?: "background") => Promise<BlobAnswer>;

export class Resumption {
  readonly #open: OpenFrom;
  readonly #followed: () => boolean;
  #waiting: AbortController | undefined;

  /** `followed`: whether a client waits for the bytes. */
  constructor(open: OpenFrom, followed: () => boolean) {
    this.#open = open;
    this.#followed = followed;
  }

  /** The bytes from `from` on. Rejects with UpstreamError, or with the signal's reason. */
  async open(from: number, signal: AbortSignal): Promise<BlobAnswer> {
    if (from === 0 || this.#followed()) return this.#open(from, signal);
    const waiting = new AbortController();
    this.#waiting = waiting;
    try {
      const answer = await this.#open(from, AbortSignal.any([signal, waiting.signal]), "background");
      if (!waiting.signal.aborted) return answer;
    } catch (error) {
      if (!waiting.signal.aborted || signal.aborted) throw error;
    } finally {
      this.#waiting = undefined;
    }
    return this.#open(from, signal);
  }

  /** A client has come. */
  hurry(): void {
    this.#waiting?.abort();
  }
}
