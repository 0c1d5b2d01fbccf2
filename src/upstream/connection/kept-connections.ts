// Connections that are kept for the next request, and given up together. A registry's address that moves to another
// machine, or a translator that forgets its table, takes all of them at once, and nothing tells until one is used.
import type { buildConnector, Dispatcher } from "undici";

/** Errors of sockets on which something had been received before. */
const hadAnswered = new WeakSet<object>();

/** The same connector, whose sockets' errors `wasKept` knows. */
export function watched(connect: buildConnector.connector): buildConnector.connector {
  return (target, callback) =>
    connect(target, (...result) => {
      const [, socket] = result;
      // Heard before the client hears it, and the error it fails the request with is this very one.
      socket?.on("error", (error) => {
        if (socket.bytesRead > 0) hadAnswered.add(error);
      });
      callback(...result);
    });
}

/**
 * Whether a request failed for the end of a connection that had answered before: upstream closed it at the moment it was
 * used again, or was not there any more (RFC 9112, section 9.3.1). Not for nonsense and time-outs.
 */
export function wasKept(error: unknown): boolean {
  const { code, syscall, socket } = (error ?? {}) as {
    code?: unknown;
    syscall?: unknown;
    socket?: { bytesRead?: number } | null;
  };
  if (code === "UND_ERR_SOCKET") return (socket?.bytesRead ?? 0) > 0;
  return typeof syscall === "string" && hadAnswered.has(error as object);
}

export class KeptConnections {
  readonly #make: () => Dispatcher;
  #current: Dispatcher;
  /** Of before, with what still runs on them. */
  readonly #replaced = new Set<Dispatcher>();

  /** `make`: what connects to nothing before the first request. */
  constructor(make: () => Dispatcher) {
    this.#make = make;
    this.#current = make();
  }

  get current(): Dispatcher {
    return this.#current;
  }

  /**
   * One of the connections of `dead` has turned out to be gone: those that idle are closed, those in use when their
   * request is over, and `current` has none yet. Nothing happens when that has been done for `dead` already.
   */
  replace(dead: Dispatcher): void {
    if (dead !== this.#current) return;
    this.#current = this.#make();
    this.#replaced.add(dead);
    void dead
      .close()
      .catch(() => {})
      .finally(() => this.#replaced.delete(dead));
  }

  /** Ends every request and closes every connection. */
  async destroy(): Promise<void> {
    await Promise.all([this.#current, ...this.#replaced].map((each) => each.destroy()));
  }
}
