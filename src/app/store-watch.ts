// Checks all the time whether the cache directory can be used: a disk that is gone is noticed within seconds, and used
// again when it is back. Requests go on meanwhile, straight from upstream.
import type { Health } from "../ops/health.ts";
import type { NoticeSink } from "../ports/event.ts";
import { SharedCall } from "../ports/single-flight.ts";

/** Milliseconds between two checks. */
export const storeWatchInterval = 2_000;
/** Milliseconds a check may take: a network disk may never answer. */
const checkTimeout = 10_000;

export interface StoreWatchOptions {
  /** True when the directory is another one than before, laid out anew. Rejects when it cannot be used. */
  readonly probe: () => Promise<boolean>;
  /** The directory is another one, so what the index says of it is wrong. */
  readonly replaced: () => void;
  readonly health: Pick<Health, "set">;
  readonly notices: NoticeSink;
  /** Milliseconds; only goes forward. */
  readonly steady: () => number;
}

export class StoreWatch {
  readonly #options: StoreWatchOptions;
  #usable = true;
  readonly #checks = new SharedCall<void>();
  #since = 0;

  constructor(options: StoreWatchOptions) {
    this.#options = options;
  }

  /** One check at a time. Resolves at its end, which may be long in coming; never rejects. */
  check(): Promise<void> {
    const { steady } = this.#options;
    if (!this.#checks.isRunning) this.#since = steady();
    else if (steady() - this.#since >= checkTimeout) this.#report("the cache directory does not answer");
    return this.#checks.run(() => this.#probe());
  }

  async #probe(): Promise<void> {
    try {
      const replaced = await this.#options.probe();
      this.#report(undefined);
      if (replaced) this.#options.replaced();
    } catch (error) {
      this.#report(error instanceof Error ? error.message : String(error));
    }
  }

  /** `trouble`: why the directory cannot be used. A notice follows when that changes. */
  #report(trouble: string | undefined): void {
    const usable = trouble === undefined;
    if (!usable || !this.#usable) this.#options.health.set("store", usable, trouble);
    if (usable === this.#usable) return;
    this.#usable = usable;
    this.#options.notices({ kind: "store", usable, message: trouble ?? "" });
  }
}
