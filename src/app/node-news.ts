// What this node tells the others of itself, and hears of them, every five seconds.
import type { Datacenter } from "../ops/stats/datacenter.ts";
import type { NodeSummaries, NodeSummary } from "../ports/datacenter/nodes.ts";
import { SharedCall } from "../ports/single-flight.ts";

/** Milliseconds. */
const interval = 5_000;

export interface NodeNewsOptions {
  readonly summaries: NodeSummaries;
  /** What this node is now. May throw: then nothing is told. */
  readonly own: () => NodeSummary;
  readonly datacenter: Pick<Datacenter, "heard">;
}

export class NodeNews {
  readonly #options: NodeNewsOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #running = new SharedCall<void>();

  /** Begins at once. */
  constructor(options: NodeNewsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.exchange(), interval).unref();
    void this.exchange();
  }

  /**
   * Never rejects: Redis tells itself that it is away, and who is not heard of any more is shown as unreachable. A call while
   * one runs waits for that one.
   */
  async exchange(): Promise<void> {
    const { summaries, own, datacenter } = this.#options;
    await this.#running.run(async () => datacenter.heard(await summaries.exchange(own()))).catch(() => {});
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
