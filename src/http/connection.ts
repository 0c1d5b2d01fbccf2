// One client's connection. Its requests are answered one after the other, as the answers have to go out anyway
// (RFC 9112, section 9.3.2): what a client has asked for in advance holds no file, no buffer and no answer.
import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Client } from "./client-address.ts";
import { Exchange, type ExchangeOwner } from "./exchange.ts";
import type { OriginHeaders } from "./origin-headers.ts";

/** Milliseconds after the last answer in which the rest of what a client still sends is read away. */
const lingering = 5_000;

/** What owns a connection: the listener. */
export interface ConnectionOwner {
  /** Milliseconds, from any start. */
  readonly now: () => number;
  clientOf(request: IncomingMessage): Client;
  readonly onEvent: ExchangeOwner["onEvent"];
  readonly originHeaders: OriginHeaders;
  /** A request's turn has come, and is over. */
  begun(): void;
  over(): void;
  serve(exchange: Exchange): void;
  /** Answers a request whose body cannot be read, unless its answer has begun. */
  refuse(exchange: Exchange): void;
}

interface Waiting {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

export class Connection implements ExchangeOwner {
  readonly #socket: Socket;
  readonly #owner: ConnectionOwner;
  #current: Exchange | undefined;
  /**
   * Requests that came behind the current one, in their order. Nothing is read while there are any, so they are at
   * most those of one read: 64 KiB, or 2,600 of the shortest.
   */
  readonly #waiting: Waiting[] = [];
  /** The next of them has its turn in the next round of the event loop: other connections come between. */
  #turning = false;
  /** No request after those that are here: what came next was none, or a CONNECT. */
  #last = false;
  /** The request whose body broke off in what cannot be read. */
  #broken: IncomingMessage | undefined;
  #ended = false;

  constructor(socket: Socket, owner: ConnectionOwner) {
    // Node asks the system once, and forgets nothing: a client that has left by its second request still has a name.
    void socket.remoteAddress;
    this.#socket = socket;
    this.#owner = owner;
    // Node takes its own listeners away at a CONNECT.
    socket.on("error", () => {});
    socket.once("close", () => this.#closed());
    // Node reads on when the body of a request is wanted.
    socket.on("resume", () => {
      if (this.#waiting.length > 0 || (this.#last && !this.#ended)) socket.pause();
    });
  }

  get onEvent(): ExchangeOwner["onEvent"] {
    return this.#owner.onEvent;
  }

  get originHeaders(): OriginHeaders {
    return this.#owner.originHeaders;
  }

  now(): number {
    return this.#owner.now();
  }

  /** Takes the next request, whose answer is `response`. */
  take(request: IncomingMessage, response: ServerResponse): void {
    if (this.#current === undefined && !this.#turning) {
      this.#begin(request, response);
      return;
    }
    this.#waiting.push({ request, response });
    this.#socket.pause();
  }

  /** A CONNECT: Node leaves the connection to us. It is answered in its turn, and the connection ends. */
  connect(request: IncomingMessage): void {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    this.#last = true;
    this.take(request, response);
  }

  /**
   * What came cannot be read as HTTP, or did not come in time. Once a request is here its answer and those of the
   * requests behind it go out as if nothing had happened, and the connection ends after them: bytes written now would
   * be taken for a part of an answer.
   */
  unreadable(error: NodeJS.ErrnoException): void {
    const socket = this.#socket;
    const current = this.#current;
    // Who ends its side in the middle of a body has left.
    const left = error.code === "HPE_INVALID_EOF_STATE" && current?.request.complete === false;
    if (!this.#ended && (left || !socket.writable)) socket.destroy();
    if (this.#last || this.#ended || socket.destroyed) return;
    if (current === undefined && !this.#turning) {
      this.#end(answerTo(error, socket));
      return;
    }
    this.#last = true;
    const newest = this.#waiting.at(-1)?.request ?? current?.request;
    if (newest?.complete === false) this.#broken = newest;
    if (current !== undefined && current.request === this.#broken) this.#refuse(current);
    else socket.pause();
  }

  /** Cuts a connection whose client has taken no byte of an answer for `limit` milliseconds. */
  cutStalled(limit: number): void {
    const current = this.#current;
    if (current !== undefined && current.stalledFor(this.now()) > limit) current.drop();
  }

  destroy(): void {
    if (this.#current?.endsWithConnection === true) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  over(exchange: Exchange): void {
    if (exchange !== this.#current) return;
    this.#current = undefined;
    this.#owner.over();
    if (this.#socket.destroyed) return;
    if (this.#waiting.length > 0) {
      this.#turning = true;
      setImmediate(() => this.#turn());
    } else if (this.#last) this.#end();
  }

  #exchange(request: IncomingMessage, response: ServerResponse): Exchange {
    return new Exchange(request, response, this.#owner.clientOf(request), this);
  }

  #turn(): void {
    this.#turning = false;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    if (this.#waiting.length === 0 && !this.#last) this.#socket.resume();
    this.#begin(next.request, next.response);
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const exchange = this.#exchange(request, response);
    this.#current = exchange;
    this.#owner.begun();
    if (request.method === "CONNECT") {
      response.assignSocket(this.#socket);
      response.once("finish", () => {
        response.detachSocket(this.#socket);
        exchange.over();
      });
    }
    if (request === this.#broken) this.#refuse(exchange);
    else this.#owner.serve(exchange);
  }

  #refuse(exchange: Exchange): void {
    this.#owner.refuse(exchange);
    // It has the whole of its answer, and would be waiting for the rest of the body.
    if (exchange.lingers) this.#end();
  }

  /**
   * Ends it in good order: what is written goes out, then FIN, and what still comes is read away for some time. Closed
   * at once, a connection with unread bytes is reset, and the client may not see its answer.
   */
  #end(text = ""): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end(text);
    this.#socket.resume();
    const timer = setTimeout(() => this.#socket.destroy(), lingering).unref();
    this.#socket.once("close", () => clearTimeout(timer));
  }

  /** Every request of it has its event, also those whose turn never came. */
  #closed(): void {
    this.#current?.over();
    for (const { request, response } of this.#waiting.splice(0)) this.#exchange(request, response).over();
  }
}

const statuses: ReadonlyMap<string | undefined, string> = new Map([
  ["ERR_HTTP_REQUEST_TIMEOUT", "408 Request Timeout"],
  ["HPE_HEADER_OVERFLOW", "431 Request Header Fields Too Large"],
]);

/** To bytes that are no HTTP, a TLS hello among them, or half a head; none to silence. */
function answerTo({ code }: NodeJS.ErrnoException, { bytesRead }: Socket): string {
  if (bytesRead === 0) return "";
  const status = statuses.get(code) ?? "400 Bad Request";
  return `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
}
