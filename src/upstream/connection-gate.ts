// Who may use one of the limited connections to an upstream. Long transfers leave some connections free, so that
// the small requests every pull begins with never wait behind layers.
import { UpstreamError } from "../cache/ports.ts";

export type Use = "small" | "transfer";

interface Waiting {
  readonly use: Use;
  readonly admit: () => void;
}

/** Requests that wait at most; more are refused at once. */
const longestQueue = 1024;

export class ConnectionGate {
  readonly #upstream: string;
  readonly #limits: Readonly<Record<Use, number>>;
  readonly #timeout: number;
  readonly #queues: Readonly<Record<Use, Set<Waiting>>> = { small: new Set(), transfer: new Set() };
  #held = 0;
  #transfers = 0;

  /** Transfers get all but an eighth of `connections` (at least one is left when there are two or more). */
  constructor(upstream: string, connections: number, timeout: number) {
    this.#upstream = upstream;
    this.#timeout = timeout;
    const reserved = connections > 1 ? Math.ceil(connections / 8) : 0;
    this.#limits = { small: connections, transfer: connections - reserved };
  }

  /** Connections in use. */
  get held(): number {
    return this.#held;
  }

  /**
   * Resolves with the release (idempotent) when a connection is free; small requests go first, else in order.
   * Rejects with UpstreamError timeout after the gate's milliseconds or when 1024 wait already, and with the
   * signal's reason when it aborts.
   */
  async enter(use: Use, signal: AbortSignal | undefined): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#free(use)) this.#take(use);
    else await this.#wait(use, signal);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#held--;
      if (use === "transfer") this.#transfers--;
      this.#admitNext();
    };
  }

  #free(use: Use): boolean {
    return this.#held < this.#limits.small && (use === "small" || this.#transfers < this.#limits.transfer);
  }

  #take(use: Use): void {
    this.#held++;
    if (use === "transfer") this.#transfers++;
  }

  async #wait(use: Use, signal: AbortSignal | undefined): Promise<void> {
    const queue = this.#queues[use];
    if (queue.size >= longestQueue) {
      throw new UpstreamError(
        "timeout",
        `upstream ${this.#upstream}: too many requests wait for a connection`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = { use, admit: resolve };
    const leave = (reason: unknown): void => {
      // An admitted request has left the queue and holds its connection: too late to turn away.
      if (queue.delete(waiting)) reject(reason);
    };
    const aborted = (): void => leave(signal?.reason);
    const timer = setTimeout(() => {
      const text = `no connection was free for ${this.#timeout} ms`;
      leave(new UpstreamError("timeout", `upstream ${this.#upstream}: ${text}`));
    }, this.#timeout);
    queue.add(waiting);
    signal?.addEventListener("abort", aborted, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
    }
  }

  #admitNext(): void {
    for (const use of ["small", "transfer"] as const) {
      const [first] = this.#queues[use];
      if (first === undefined || !this.#free(use)) continue;
      this.#queues[use].delete(first);
      this.#take(use);
      first.admit();
      return;
    }
  }
}
