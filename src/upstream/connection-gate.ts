// Who may use one of the limited connections to an upstream. Long transfers leave some connections free, so that
// the small requests every pull begins with never wait behind layers; transfers that no client waits for come last.
import { UpstreamError } from "../cache/ports.ts";

/** In the order they are let in. */
const uses = ["small", "transfer", "background"] as const;
export type Use = (typeof uses)[number];

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
  readonly #queues: Readonly<Record<Use, Set<Waiting>>> = {
    small: new Set(),
    transfer: new Set(),
    background: new Set(),
  };
  #held = 0;
  /** Those of the background are transfers too. */
  #transfers = 0;
  #background = 0;

  /**
   * Transfers get all but an eighth of `connections` (at least one is left when there are two or more); of these the
   * background gets a quarter of `connections`, at least one.
   */
  constructor(upstream: string, connections: number, timeout: number) {
    this.#upstream = upstream;
    this.#timeout = timeout;
    const reserved = connections > 1 ? Math.ceil(connections / 8) : 0;
    this.#limits = {
      small: connections,
      transfer: connections - reserved,
      background: Math.max(1, Math.floor(connections / 4)),
    };
  }

  /** Connections in use. */
  get held(): number {
    return this.#held;
  }

  /**
   * Resolves with the release (idempotent) when a connection is free; small requests go first and the background
   * last, else in order. What is in is never put out: with one connection, whatever comes waits for what is there.
   * Rejects with UpstreamError timeout after the gate's milliseconds or when 1024 wait already, and with the
   * signal's reason when it aborts.
   */
  async enter(use: Use, signal: AbortSignal | undefined): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.free(use)) this.#count(use, 1);
    else await this.#wait(use, signal);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#count(use, -1);
      this.#admitNext();
    };
  }

  /** Whether `enter` would let it in at once. */
  free(use: Use): boolean {
    if (this.#held >= this.#limits.small) return false;
    if (use === "small") return true;
    if (this.#transfers >= this.#limits.transfer) return false;
    return use === "transfer" || this.#background < this.#limits.background;
  }

  #count(use: Use, change: 1 | -1): void {
    this.#held += change;
    if (use !== "small") this.#transfers += change;
    if (use === "background") this.#background += change;
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
    for (const use of uses) {
      const [first] = this.#queues[use];
      if (first === undefined || !this.free(use)) continue;
      this.#queues[use].delete(first);
      this.#count(use, 1);
      first.admit();
      return;
    }
  }
}
