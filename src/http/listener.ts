// The listener clients talk to.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { EventSink } from "../telemetry/event.ts";
import { ClientAddresses, type ClientAddressesOptions } from "./client-address.ts";
import { Exchange, type Keeper, type ToldHeaders } from "./exchange.ts";
import { type ServeOptions, serve } from "./serve.ts";

export interface ListenerOptions extends ServeOptions, ToldHeaders, ClientAddressesOptions {
  readonly onEvent: EventSink;
  /** Whether answers carry Via (RFC 9110, section 7.6.3), which names this node; not, when left out. */
  readonly via?: boolean;
}

/** 1,024 ranges in one header are 20 kB; Node's own 16 KiB would answer them with 431. */
const maxHeaderSize = 64 * 1024;
/** Go clients keep idle connections for 90 s; ours must outlive theirs. */
const keepAliveTimeout = 100_000;
const headersTimeout = 15_000;
/** A client that takes no byte for this long is cut off; kubelet gives up after the same time. */
const stallLimit = 300_000;
const stallCheck = 10_000;
export class Listener {
  readonly #server: Server;
  /** Only those whose body goes out in pieces: a set of all would be made anew every few dozen requests. */
  readonly #sending = new Set<Exchange>();
  #inFlight = 0;
  readonly #stalls: NodeJS.Timeout;

  constructor(options: ListenerOptions) {
    const keeper: Keeper = {
      begun: (exchange) => void this.#sending.add(exchange),
      over: (exchange) => {
        this.#inFlight -= 1;
        this.#sending.delete(exchange);
      },
      onEvent: options.onEvent,
      tells: options,
    };
    const clients = new ClientAddresses(options);
    const take = (request: IncomingMessage, response: ServerResponse): void => {
      this.#inFlight += 1;
      const exchange = new Exchange(request, response, clients.of(request), keeper);
      if (options.via === true) exchange.always.via = `1.1 ${options.pseudonym}`;
      void serve(exchange, options);
    };
    this.#server = createServer(
      // No limit on a whole request: a layer may take hours to push. Whoever takes a body bounds its silences
      // (forwarding.ts), whoever does not bounds the whole of it (request-body.ts).
      { maxHeaderSize, keepAliveTimeout, headersTimeout, requestTimeout: 0, noDelay: true },
      take,
    );
    // All headers are seen or the request is refused: a limit on their number hides a body length behind it
    // (CVE-2026-58044). Their size is bounded above.
    this.#server.maxHeadersCount = 0;
    // Node asks the system once, and forgets nothing: a client that has left by its second request still has a name.
    this.#server.on("connection", ({ remoteAddress }) => void remoteAddress);
    this.#server.on("clientError", answerUnreadable);
    this.#server.on("checkContinue", take);
    this.#server.on("checkExpectation", take);
    this.#stalls = setInterval(() => this.#cutStalled(), stallCheck);
    this.#stalls.unref();
  }

  /** Answers under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Rejects with the system's error when the address cannot be had. */
  listen(host: string, port: number): Promise<AddressInfo> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off("error", reject);
        resolve(this.#server.address() as AddressInfo);
      });
    });
  }

  /** Takes no new connection, closes idle ones, and resolves when every answer under way has ended. */
  async drain(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    await closed;
  }

  /** Cuts whatever is left. */
  stop(): void {
    clearInterval(this.#stalls);
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #cutStalled(): void {
    const now = performance.now();
    for (const exchange of this.#sending) if (exchange.stalledFor(now) > stallLimit) exchange.drop();
  }
}

/** Bytes that are no HTTP, a TLS hello among them: one plain 400, then the end. */
function answerUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
