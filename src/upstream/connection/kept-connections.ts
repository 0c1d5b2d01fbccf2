// Connections that are kept for the next request, and given up together. When a registry's address moves to another
// machine, or a NAT gateway loses its table, all of them are dead, and that shows only when one is used.
import type { buildConnector, Dispatcher } from "undici";
import type { ProxyServer } from "../../config/config.ts";
import { asProcessing } from "./interim-responses.ts";

/** Errors of sockets on which something had been received before. */
const hadAnswered = new WeakSet<object>();

/** The same connector; `wasKept` recognizes the errors of its sockets, and undici the interim responses they bring. */
export function watched(connect: buildConnector.connector): buildConnector.connector {
  return (target, callback) =>
    connect(target, (...result) => {
      const [, socket] = result;
      // This listener runs before the client's own, and the client fails the request with this very error.
      socket?.on("error", (error) => {
        if (socket.bytesRead > 0) hadAnswered.add(error);
      });
      // Undefined after a failure, whatever the type says.
      if (socket) asProcessing(socket);
      callback(...result);
    });
}

/**
 * Whether a request failed because a connection ended that had answered before: upstream closed it at the moment it was
 * used again, or was gone (RFC 9112, section 9.3.1). False for malformed answers and time-outs.
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
  /** The proxy that is sent the requests to an origin with the whole URL in them. */
  readonly forwarding: (origin: string) => ProxyServer | undefined;
  #current: Dispatcher;
  /** Earlier ones, until their last requests are over. */
  readonly #replaced = new Set<Dispatcher>();

  /** What `make` returns must not connect before its first request. */
  constructor(
    make: () => Dispatcher,
    forwarding: (origin: string) => ProxyServer | undefined = () => undefined,
  ) {
    this.#make = make;
    this.forwarding = forwarding;
    this.#current = make();
  }

  get current(): Dispatcher {
    return this.#current;
  }

  /**
   * A connection of `dead` has turned out to be gone: its idle connections are closed now, those in use when their
   * request is over, and `current` starts without any. Does nothing when `dead` has been replaced already.
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
