// A bound on memory that uploads share: when it is used up, callers wait in order.
import { StoreError } from "../../ports/blobs.ts";

/** Callers waiting at most; more are refused. */
const maxWaiting = 1_000;

export class ByteBudget {
  readonly limit: number;
  #used = 0;
  readonly #waiting: { readonly bytes: number; readonly grant: () => void }[] = [];

  /** `limit` in bytes. */
  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /**
   * Resolves once `bytes` (at most the limit) are free, with the function that releases them, to be called once.
   * Rejects with StoreError `unavailable` when 1,000 callers wait already, and when the signal aborts.
   */
  async take(bytes: number, signal: AbortSignal): Promise<() => void> {
    if (signal.aborted) throw givenUp(signal);
    if (this.#waiting.length > 0 || this.#used + bytes > this.limit) await this.#wait(bytes, signal);
    else this.#used += bytes;
    return () => {
      this.#used -= bytes;
      this.#grant();
    };
  }

  async #wait(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= maxWaiting) {
      throw new StoreError("unavailable", `${maxWaiting} others wait for memory already`);
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { bytes, grant: resolve };
    const abort = (): void => {
      const at = this.#waiting.indexOf(waiting);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      reject(givenUp(signal));
      this.#grant();
    };
    this.#waiting.push(waiting);
    signal.addEventListener("abort", abort, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", abort));
  }

  #grant(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#used + next.bytes > this.limit) return;
      this.#used += next.bytes;
      this.#waiting.shift();
      next.grant();
    }
  }
}

function givenUp({ reason }: AbortSignal): StoreError {
  return new StoreError("unavailable", "given up while waiting for memory", { cause: reason });
}
