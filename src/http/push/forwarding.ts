// One write sent to upstream through http-proxy, and what ends it early. http-proxy leaves some requests without an
// end, so they are ended here: those of a client that left before the request had a socket, those of an upstream that
// falls silent, and those whose caller would wait for ever, because http-proxy does not report that the client is gone.
// The bodies of upstream's answers are read here, too.
import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { createProxyServer, type ProxyServer } from "http-proxy";
import { bodyChunks } from "../../ports/body.ts";
import { localTroubles, UpstreamError } from "../../ports/upstream.ts";
import { ClientLeft, type Exchange } from "../exchange.ts";

/** Milliseconds. */
export interface ForwardingTimeouts {
  /** Until upstream has accepted a connection. */
  readonly connect: number;
  /** From the end of the request to the head of the answer. */
  readonly answer: number;
  /** Between two bytes that upstream takes or sends. */
  readonly idle: number;
  /** Between two bytes of the client's body. */
  readonly client: number;
}

export interface Outgoing {
  readonly url: URL;
  /** All headers of the request but Host and Authorization. */
  readonly headers: Readonly<Record<string, string>>;
  readonly authorization: string | undefined;
  /** The client's body as it comes, which can be sent once; a body that was read before; or none. */
  readonly body: "client" | Buffer | undefined;
  readonly agent: Agent;
}

/** The client has sent no byte of its body for too long. */
export class BodyStalled extends Error {}

export class Forwarder {
  readonly #upstream: string;
  readonly #proxy: ProxyServer = createProxyServer({
    // The target is the whole URL: nothing of the client's request target goes into it.
    ignorePath: true,
    changeOrigin: true,
    selfHandleResponse: true,
  });
  readonly #running = new WeakMap<IncomingMessage, Forwarding>();

  /** `upstream` is its name, for messages. */
  constructor(upstream: string) {
    this.#upstream = upstream;
    this.#proxy.on("proxyReq", (sent, request) => this.#running.get(request)?.started(sent));
    this.#proxy.on("proxyRes", (answer, request) => this.#running.get(request)?.answered(answer));
  }

  /** Sends the exchange's request on as `outgoing`. The caller closes the forwarding. */
  start(exchange: Exchange, outgoing: Outgoing, timeouts: ForwardingTimeouts): Forwarding {
    const { request, response } = exchange;
    const forwarding = new Forwarding(exchange, outgoing, timeouts, this.#upstream);
    if (exchange.closed) {
      forwarding.failed(new ClientLeft());
      return forwarding;
    }
    this.#running.set(request, forwarding);
    const { url, headers, authorization, body, agent } = outgoing;
    // http-proxy sends whatever headers the request has. Credentials go in an option, so that the request never has
    // them.
    request.headers = { ...headers };
    const options = {
      target: url,
      connectTimeout: timeouts.connect,
      agent,
      ...(authorization === undefined ? {} : { headers: { authorization } }),
      // A body that does not match the length sent with it could smuggle in a second request: only "client" streams it.
      ...(body === "client" ? {} : { buffer: Readable.from(body === undefined ? [] : [body]) }),
    };
    try {
      this.#proxy.web(request, response, options, (error) => forwarding.failed(error));
    } catch (error) {
      forwarding.failed(error as Error);
    }
    return forwarding;
  }
}

export class Forwarding {
  readonly #exchange: Exchange;
  /** The client's body is sent as it comes. */
  readonly #streams: boolean;
  readonly #agent: Agent;
  readonly #timeouts: ForwardingTimeouts;
  readonly #upstream: string;
  readonly #answer = Promise.withResolvers<IncomingMessage>();
  readonly #stopListening: () => void;
  #timer: NodeJS.Timeout | undefined;
  #sent: ClientRequest | undefined;
  #got: IncomingMessage | undefined;
  /** When a byte of the request last moved, in or out. */
  #movedAt = performance.now();
  #delivered = false;
  #lostIdle = false;
  #over = false;

  constructor(exchange: Exchange, outgoing: Outgoing, timeouts: ForwardingTimeouts, upstream: string) {
    this.#exchange = exchange;
    this.#streams = outgoing.body === "client";
    this.#agent = outgoing.agent;
    this.#timeouts = timeouts;
    this.#upstream = upstream;
    this.#answer.promise.catch(() => {});
    this.#stopListening = exchange.onOver(() => this.failed(new ClientLeft()));
    this.#watch();
    if (this.#streams) exchange.request.on("data", this.#moved);
  }

  /**
   * The head of upstream's answer; its body must be read, or the forwarding closed. Rejects with UpstreamError, with
   * BodyStalled, or with another error when the client has left.
   */
  get answer(): Promise<IncomingMessage> {
    return this.#answer.promise;
  }

  /** The whole request has gone out: upstream may have done what it asks, whatever became of the answer. */
  get delivered(): boolean {
    return this.#delivered;
  }

  /** It failed on an idle connection that upstream was just closing, so it may be sent again. */
  get lostIdle(): boolean {
    return this.#lostIdle;
  }

  /** http-proxy has a socket for the request to upstream. */
  started(sent: ClientRequest): void {
    this.#sent = sent;
    if (this.#over || this.#exchange.closed) {
      sent.destroy();
      return;
    }
    // When upstream switches protocols (101), Node closes the connection and emits nothing but "close".
    const unanswered = `upstream ${this.#upstream} ended the connection of a write without an answer`;
    sent.once("close", () => this.failed(new UpstreamError("protocol", unanswered)));
    sent.on("drain", this.#moved);
    sent.once("finish", () => {
      this.#delivered = true;
      this.#moved();
      if (!this.#over) this.#watch();
    });
  }

  answered(answer: IncomingMessage): void {
    // When the connection breaks later, the reader of the body gets the error.
    answer.on("error", () => {});
    if (this.#over) {
      answer.destroy();
      return;
    }
    this.#settle();
    this.#got = answer;
    this.#answer.resolve(answer);
  }

  failed(error: Error): void {
    if (this.#over) return;
    const { code } = error as NodeJS.ErrnoException;
    const lost = (code === "ECONNRESET" || code === "EPIPE") && this.#sent?.reusedSocket === true;
    this.#lostIdle = lost && !this.#streams;
    // The other idle connections may be gone as well: the next request opens a new one.
    if (lost) for (const idle of Object.values(this.#agent.freeSockets).flat()) idle?.destroy();
    this.#settle();
    this.#answer.reject(error instanceof UpstreamError ? error : this.#failure(error));
    this.#sent?.destroy();
  }

  /** Ends what is left of the request and the answer. What is left of the client's body is up to the caller. */
  close(): void {
    this.failed(new Error("given up"));
    if (this.#streams) this.#exchange.request.unpipe();
    if (this.#sent !== undefined && !this.#sent.writableFinished) this.#sent.destroy();
    // With the whole answer here its connection can be used again; otherwise it is closed.
    if (this.#got?.complete) this.#got.resume();
    else this.#got?.destroy();
  }

  readonly #moved = (): void => {
    this.#movedAt = performance.now();
  };

  get #waitsForClient(): boolean {
    return this.#streams && !this.#exchange.request.complete && this.#sent?.writableLength === 0;
  }

  /** Milliseconds in which a byte has to move, at this moment. */
  get #limit(): number {
    if (!this.#streams || this.#delivered) return this.#timeouts.answer;
    return this.#waitsForClient ? this.#timeouts.client : this.#timeouts.idle;
  }

  /** Checks at least every `idle` milliseconds: whether client or upstream is waited for changes without an event. */
  #watch(): void {
    clearTimeout(this.#timer);
    const left = this.#limit - (performance.now() - this.#movedAt);
    if (left > 0) this.#timer = setTimeout(() => this.#watch(), Math.min(left, this.#timeouts.idle));
    else if (this.#waitsForClient) this.failed(new BodyStalled("the request's body stopped coming"));
    else this.failed(new UpstreamError("timeout", `upstream ${this.#upstream} did not go on with a write`));
  }

  #settle(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#stopListening();
    this.#exchange.request.off("data", this.#moved);
  }

  /** Names the code only: messages of parser errors quote what was received. */
  #failure(error: Error): Error {
    if (this.#exchange.closed || error instanceof BodyStalled) return error;
    const { code = "no code" } = error as NodeJS.ErrnoException;
    const text = `upstream ${this.#upstream} failed a write (${code})`;
    const late = code === "ECONNECT_TIMEOUT" || code === "ETIMEDOUT";
    if (localTroubles.has(code)) return new UpstreamError("local", text);
    const kind = late ? "timeout" : code.startsWith("HPE_") ? "protocol" : "unreachable";
    return new UpstreamError(kind, text);
  }
}

/**
 * The body of upstream's answer, chunk by chunk. Rejects with UpstreamError when it breaks off, or when upstream sends
 * nothing for `idle` milliseconds; the time the caller takes over a chunk does not count.
 */
export async function* answerChunks(answer: IncomingMessage, idle: number): AsyncGenerator<Buffer> {
  const silent = (): Error => new UpstreamError("timeout", "upstream fell silent in an answer to a write");
  try {
    yield* bodyChunks(answer, idle, silent);
  } catch (error) {
    if (error instanceof UpstreamError) throw error;
    throw new UpstreamError("truncated", "upstream broke off in an answer to a write");
  }
}

/** The whole body as text; undefined, with the rest unread, above `limit` bytes. Rejects as `answerChunks` does. */
export async function answerText(
  answer: IncomingMessage,
  limit: number,
  idle: number,
): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answerChunks(answer, idle)) {
    length += chunk.length;
    if (length > limit) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length).toString("utf8");
}
