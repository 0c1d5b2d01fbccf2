// Shares out the limited connections to an upstream. Transfers leave some of them free, so that the small requests every
// pull begins with never wait behind layers. Transfers that no client waits for come last, and one whose clients have
// gone gives its connection to a request that waits for one.
import { UpstreamError, type Yielding } from "../../ports/upstream.ts";

/** In the order in which waiting requests are let in. */
const uses = ["small", "transfer", "background"] as const;
export type Use = (typeof uses)[number];

interface Waiting {
  /** The queue it waits in. */
  use: Use;
  readonly admit: (use: Use) => void;
}

/** Most requests that wait; more are refused at once. */
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
  /** Transfers that have a connection and may be asked to give it up. */
  readonly #yielding = new Set<{ readonly yields: Yielding }>();
  #held = 0;
  /** Those of the background included. */
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
   * last, else in order. A request keeps its connection, unless it has `yields`: while a small request or a transfer
   * waits, one that is unattended gives way. A transfer that becomes unattended while it waits goes on waiting as
   * background. Rejects with UpstreamError timeout after the gate's milliseconds or when 1024 wait already, and with the
   * signal's reason when it aborts.
   */
  async enter(use: Use, signal: AbortSignal | undefined, yields?: Yielding): Promise<() => void> {
    signal?.throwIfAborted();
    const wanted = useNow(use, yields);
    let admitted = wanted;
    if (this.free(wanted)) this.#count(wanted, 1);
    else admitted = await this.#wait(use, signal, yields);
    const leave = yields && this.#mayYield(yields);
    let released = false;
    return () => {
      if (released) return;
      released = true;
      leave?.();
      this.#count(admitted, -1);
      this.#admitNext();
    };
  }

  #mayYield(yields: Yielding): () => void {
    const holder = { yields };
    this.#yielding.add(holder);
    const stopListening = yields.onChange(() => {
      if (yields.unattended && this.#queues.small.size + this.#queues.transfer.size > 0) this.#yield(holder);
    });
    return () => {
      stopListening();
      this.#yielding.delete(holder);
    };
  }

  /** Asks the unattended transfer that came in first, once, to give way. */
  #makeWay(): void {
    const holder = [...this.#yielding].find(({ yields }) => yields.unattended);
    if (holder !== undefined) this.#yield(holder);
  }

  #yield(holder: { readonly yields: Yielding }): void {
    this.#yielding.delete(holder);
    holder.yields.giveWay();
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

  async #wait(use: Use, signal: AbortSignal | undefined, yields?: Yielding): Promise<Use> {
    const waiting = useNow(use, yields);
    if (this.#queues[waiting].size >= longestQueue) {
      throw new UpstreamError(
        "timeout",
        `upstream ${this.#upstream}: too many requests wait for a connection`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<Use>();
    const place: Waiting = { use: waiting, admit: resolve };
    const leave = (reason: unknown): void => {
      // A request that is no longer in the queue has been admitted, and holds its connection.
      if (this.#queues[place.use].delete(place)) reject(reason);
    };
    const aborted = (): void => leave(signal?.reason);
    const timer = setTimeout(() => {
      const text = `no connection was free for ${this.#timeout} ms`;
      leave(new UpstreamError("timeout", `upstream ${this.#upstream}: ${text}`));
    }, this.#timeout);
    const stopListening = yields?.onChange(() => {
      if (!this.#queues[place.use].delete(place)) return;
      place.use = useNow(use, yields);
      this.#queues[place.use].add(place);
      this.#admitNext();
    });
    this.#queues[place.use].add(place);
    signal?.addEventListener("abort", aborted, { once: true });
    if (place.use !== "background") this.#makeWay();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      stopListening?.();
      signal?.removeEventListener("abort", aborted);
    }
  }

  #admitNext(): void {
    for (const use of uses) {
      const [first] = this.#queues[use];
      if (first === undefined || !this.free(use)) continue;
      this.#queues[use].delete(first);
      this.#count(use, 1);
      first.admit(use);
      return;
    }
  }
}

function useNow(use: Use, yields: Yielding | undefined): Use {
  return yields?.unattended ? "background" : use;
}
