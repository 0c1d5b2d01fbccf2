// One request sent on through http-proxy, and what ends it early. http-proxy 1.18 left clients hanging and upstream
// requests running; what its rewrite leaves open is closed here: a client that left before
// the request had a socket, an upstream that falls silent, and callers that would wait for an answer for ever, for
// http-proxy does not tell them when the client is gone.
import type { Agent, ClientRequest, IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { createProxyServer, type ProxyServer } from "http-proxy";
import { localTroubles, UpstreamError } from "../../ports/upstream.ts";
import { ClientLeft, type Exchange } from "../exchange.ts";

/** How long is waited for what, in milliseconds. */
export interface Patience {
  /** For a connection to upstream. */
  readonly connect: number;
  /** For the answer, once the request is out. */
  readonly answer: number;
  /** For upstream to take or give another byte. */
  readonly idle: number;
  /** For the client's next byte. */
  readonly client: number;
}

export interface Outgoing {
  readonly url: URL;
  /** All there are, but for Host and Authorization. */
  readonly headers: Readonly<Record<string, string>>;
  readonly authorization: string | undefined;
  /** What goes along: the client's body as it comes, which can be sent once; one that was read before; or none. */
  readonly body: "client" | Buffer | undefined;
  readonly agent: Agent;
}

/** The client took too long over its body. */
export class BodyStalled extends Error {}

export class Forwarder {
  readonly #upstream: string;
  readonly #proxy: ProxyServer = createProxyServer({
    // The target is the whole URL, and nothing of the client's enters it.
    ignorePath: true,
    changeOrigin: true,
    selfHandleResponse: true,
  });
  readonly #under = new WeakMap<IncomingMessage, Forwarding>();

  /** `upstream` is its name, for messages. */
  constructor(upstream: string) {
    this.#upstream = upstream;
    this.#proxy.on("proxyReq", (sent, request) => this.#under.get(request)?.started(sent));
    this.#proxy.on("proxyRes", (answer, request) => this.#under.get(request)?.answered(answer));
  }

  /** Sends the exchange's request on as `outgoing`; whoever starts a forwarding closes it. */
  start(exchange: Exchange, outgoing: Outgoing, patience: Patience): Forwarding {
    const { request, response } = exchange;
    const forwarding = new Forwarding(exchange, outgoing, patience, this.#upstream);
    if (exchange.closed) {
      forwarding.failed(new ClientLeft());
      return forwarding;
    }
    this.#under.set(request, forwarding);
    const { url, headers, authorization, body, agent } = outgoing;
    // http-proxy sends whatever headers the request has. Credentials are not among them: they go beside.
    request.headers = { ...headers };
    const options = {
      target: url,
      connectTimeout: patience.connect,
      agent,
      ...(authorization === undefined ? {} : { headers: { authorization } }),
      // Never the client's body where none belongs: a length that is not the body's smuggles a second request.
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
  /** The client's body goes along as it comes. */
  readonly #streams: boolean;
  readonly #agent: Agent;
  readonly #patience: Patience;
  readonly #upstream: string;
  readonly #answer = Promise.withResolvers<IncomingMessage>();
  /** The exchange's end is no longer of interest. */
  readonly #unheard: () => void;
  #timer: NodeJS.Timeout | undefined;
  #sent: ClientRequest | undefined;
  #got: IncomingMessage | undefined;
  /** When a byte of the request last moved, in or out. */
  #movedAt = performance.now();
  #delivered = false;
  #lostIdle = false;
  #over = false;

  constructor(exchange: Exchange, outgoing: Outgoing, patience: Patience, upstream: string) {
    this.#exchange = exchange;
    this.#streams = outgoing.body === "client";
    this.#agent = outgoing.agent;
    this.#patience = patience;
    this.#upstream = upstream;
    this.#answer.promise.catch(() => {});
    this.#unheard = exchange.onOver(() => this.failed(new ClientLeft()));
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

  /** It failed on a kept connection that upstream was closing just then: it may be sent again. */
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
    // Node closes a connection that upstream wants to make another protocol's (101), and tells of nothing else.
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
    // A connection that breaks later is told to whoever reads the body.
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
    // What took this one may have taken all that were kept: the next request connects anew.
    if (lost) for (const idle of Object.values(this.#agent.freeSockets).flat()) idle?.destroy();
    this.#settle();
    this.#answer.reject(error instanceof UpstreamError ? error : this.#failure(error));
    this.#sent?.destroy();
  }

  /** Ends whatever is left of it upstream. What is left of the client's body is the caller's. */
  close(): void {
    this.failed(new Error("given up"));
    if (this.#streams) this.#exchange.request.unpipe();
    if (this.#sent !== undefined && !this.#sent.writableFinished) this.#sent.destroy();
    // An answer that is all here lets its connection go on; any other takes it along.
    if (this.#got?.complete) this.#got.resume();
    else this.#got?.destroy();
  }

  readonly #moved = (): void => {
    this.#movedAt = performance.now();
  };

  get #waitsForClient(): boolean {
    return this.#streams && !this.#exchange.request.complete && this.#sent?.writableLength === 0;
  }

  /** How long nothing may move now. */
  get #limit(): number {
    if (!this.#streams || this.#delivered) return this.#patience.answer;
    return this.#waitsForClient ? this.#patience.client : this.#patience.idle;
  }

  /** Looks again at least every `idle` milliseconds, for who is waited for changes without an event. */
  #watch(): void {
    clearTimeout(this.#timer);
    const left = this.#limit - (performance.now() - this.#movedAt);
    if (left > 0) this.#timer = setTimeout(() => this.#watch(), Math.min(left, this.#patience.idle));
    else if (this.#waitsForClient) this.failed(new BodyStalled("the request's body stopped coming"));
    else this.failed(new UpstreamError("timeout", `upstream ${this.#upstream} did not go on with a write`));
  }

  #settle(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#unheard();
    this.#exchange.request.off("data", this.#moved);
  }

  /** Codes only: messages of parser errors carry what was received. */
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
