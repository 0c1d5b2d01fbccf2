// Whether the cache directory can be used, looked at all the time: a disk that is gone is told within seconds, and used
// again when it is back. Requests go on meanwhile, straight from upstream.

import type { Health } from "../ops/health.ts";
import type { NoticeSink } from "../ports/event.ts";
import { SharedCall } from "../ports/single-flight.ts";

/** Milliseconds between two looks, and those a look may take: a network disk may never answer. */
export const storeLookInterval = 2_000;
const patience = 10_000;

export interface StoreWatchOptions {
  /** True when the directory is another than before, and furnished like a new one. Rejects when it cannot be used. */
  readonly probe: () => Promise<boolean>;
  /** The directory is another one: what the index says of it is wrong. */
  readonly replaced: () => void;
  readonly health: Pick<Health, "set">;
  readonly notices: NoticeSink;
  /** Milliseconds; only goes forward. */
  readonly steady: () => number;
}

export class StoreWatch {
  readonly #options: StoreWatchOptions;
  #usable = true;
  readonly #looks = new SharedCall<void>();
  #since = 0;

  constructor(options: StoreWatchOptions) {
    this.#options = options;
  }

  /** One look at a time. Resolves with its end, which may be long in coming; never rejects. */
  look(): Promise<void> {
    const { steady } = this.#options;
    if (!this.#looks.isRunning) this.#since = steady();
    else if (steady() - this.#since >= patience) this.#tell("the cache directory does not answer");
    return this.#looks.run(() => this.#look());
  }

  async #look(): Promise<void> {
    try {
      const replaced = await this.#options.probe();
      this.#tell(undefined);
      if (replaced) this.#options.replaced();
    } catch (error) {
      this.#tell(error instanceof Error ? error.message : String(error));
    }
  }

  /** `trouble`: why it cannot be used. Told when that changes. */
  #tell(trouble: string | undefined): void {
    const usable = trouble === undefined;
    if (!usable || !this.#usable) this.#options.health.set("store", usable, trouble);
    if (usable === this.#usable) return;
    this.#usable = usable;
    this.#options.notices({ kind: "store", usable, message: trouble ?? "" });
  }
}
