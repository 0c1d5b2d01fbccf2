// One client's connection. Its requests are served one after the other, because the answers have to go out in that
// order anyway (RFC 9112, section 9.3.2). A request that waits behind another holds no file, no buffer and no place.
import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { CertifiedCaller } from "../gate/certificate-caller.ts";
import { cutConnection } from "../ports/tls-front.ts";
import type { Client } from "./client-address.ts";
import { Exchange, type ExchangeOwner } from "./exchange.ts";
import type { OriginHeaders } from "./origin-headers.ts";

/** Milliseconds after the last answer in which whatever the client still sends is read and dropped. */
const lingering = 5_000;

/** What owns a connection: the listener. */
export interface ConnectionOwner {
  /** Milliseconds, from any start. */
  readonly now: () => number;
  /** `address`: who is at the other end of the connection. */
  clientOf(request: IncomingMessage, address: string): Client;
  /** See Exchange. */
  basePathOf(request: IncomingMessage, address: string): string;
  /** See Exchange. */
  originOf(request: IncomingMessage, address: string): string | undefined;
  /** Whom a worker says that the certificate of its client names. */
  certifiedOf(request: IncomingMessage): CertifiedCaller | undefined;
  readonly onEvent: ExchangeOwner["onEvent"];
  /** Those for a request that begins now. */
  originHeaders(): OriginHeaders;
  /** See ExchangeOwner. */
  readonly ofWorker: boolean;
  /** The turn of a request has begun. */
  begun(): void;
  /** It is over. */
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
  readonly #address: string;
  readonly #certified: CertifiedCaller | undefined;
  #current: Exchange | undefined;
  /**
   * Requests behind the current one, in the order of their coming. Nothing is read while there are any, so they are at
   * most those of one read: 64 KiB, or 2,600 of the shortest.
   */
  readonly #waiting: Waiting[] = [];
  /** The next of them begins in the next round of the event loop, so that other connections come between. */
  #turning = false;
  /** No request follows those that are here: what came after them cannot be read, or is a CONNECT. */
  #last = false;
  /** The request in whose body the bytes that cannot be read came. */
  #broken: IncomingMessage | undefined;
  #ended = false;

  /**
   * `address`: who is at the other end; "" when the client was gone before that was read. `certified`: whom its certificate
   * names.
   */
  constructor(socket: Socket, owner: ConnectionOwner, address: string, certified?: CertifiedCaller) {
    this.#socket = socket;
    this.#owner = owner;
    this.#address = address;
    this.#certified = certified;
    // At a CONNECT Node removes its own listeners.
    socket.on("error", () => {});
    socket.once("close", () => this.#closed());
    // Node resumes the socket whenever the body of a request is read.
    socket.on("resume", () => {
      if (this.#waiting.length > 0 || (this.#last && !this.#ended)) socket.pause();
    });
  }

  get onEvent(): ExchangeOwner["onEvent"] {
    return this.#owner.onEvent;
  }

  get originHeaders(): OriginHeaders {
    return this.#owner.originHeaders();
  }

  get ofWorker(): boolean {
    return this.#owner.ofWorker;
  }

  basePathOf(request: IncomingMessage): string {
    return this.#owner.basePathOf(request, this.#address);
  }

  originOf(request: IncomingMessage): string | undefined {
    return this.#owner.originOf(request, this.#address);
  }

  certifiedOf(request: IncomingMessage): CertifiedCaller | undefined {
    return this.#owner.ofWorker ? this.#owner.certifiedOf(request) : this.#certified;
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

  /** A CONNECT: Node hands the connection over. The request is answered in its turn, then the connection ends. */
  connect(request: IncomingMessage): void {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    this.#last = true;
    this.take(request, response);
  }

  /**
   * What came cannot be read as HTTP, or did not come in time. The requests that are already here still get their
   * answers, and the connection ends after them: an error written now would be taken for a part of an answer.
   */
  unreadable(error: NodeJS.ErrnoException): void {
    const socket = this.#socket;
    const current = this.#current;
    // A client that ends its side in the middle of a body has left.
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

  /** Resolves when the request under way now has ended; at once when there is none. */
  async settled(): Promise<void> {
    const current = this.#current;
    if (current !== undefined) await new Promise<void>((resolve) => current.onOver(resolve));
  }

  destroy(): void {
    if (this.#current?.endsWithConnection === true) cutConnection(this.#socket);
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
    return new Exchange(request, response, this.#owner.clientOf(request, this.#address), this);
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
    // The answer is out, and the connection would wait for the rest of a body that cannot be read.
    if (exchange.lingers) this.#end();
  }

  /**
   * Ends the connection: what is written goes out, then FIN, and what still comes is read and dropped for some time. If
   * it were closed at once, unread bytes would make it a reset, and the client might not see its answer.
   */
  #end(text = ""): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end(text);
    this.#socket.resume();
    const timer = setTimeout(() => this.#socket.destroy(), lingering).unref();
    this.#socket.once("close", () => clearTimeout(timer));
  }

  /** Every request has its event, also those whose turn never came. */
  #closed(): void {
    this.#current?.over();
    for (const { request, response } of this.#waiting.splice(0)) this.#exchange(request, response).over();
  }
}

const statuses: ReadonlyMap<string | undefined, string> = new Map([
  ["ERR_HTTP_REQUEST_TIMEOUT", "408 Request Timeout"],
  ["HPE_HEADER_OVERFLOW", "431 Request Header Fields Too Large"],
]);

/** The answer to bytes that are no HTTP (such as a TLS hello) or only half a head; nothing when no byte came. */
function answerTo({ code }: NodeJS.ErrnoException, { bytesRead }: Socket): string {
  if (bytesRead === 0) return "";
  const status = statuses.get(code) ?? "400 Bad Request";
  return `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
}
