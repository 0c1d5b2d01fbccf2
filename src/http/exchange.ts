// One request and its answer: what is found out on the way, the ways to answer, and the one event when it is over.
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { largestText } from "../cache/memory-size.ts";
import type { CertifiedCaller } from "../gate/certificate-caller.ts";
import type {
  EventContent,
  EventSink,
  EventWrite,
  Probe,
  RequestEvent,
  Result,
  RouteKind,
  Source,
} from "../ports/event.ts";
import {
  type GrantedContent,
  grantHeader,
  oldHttpHeader,
  takesGrantHeader,
  writeGrant,
} from "../ports/grant.ts";
import { cutConnection } from "../ports/tls-front.ts";
import type { RequestSpan } from "../ports/tracing/span.ts";
import type { OnBehalfOf } from "../ports/upstream.ts";
import type { Client } from "./client-address.ts";
import type { Place } from "./fair-queue.ts";
import type { AnswerPacer, CallerLimit } from "./limits/caller-limits.ts";
import { cacheStatus, type OriginHeaders, type Served, serverTiming } from "./origin-headers.ts";
import { abandoned, discardBody, hasBody } from "./request-body.ts";
import { requestId, traceId } from "./request-identity.ts";

/** Longest path and User-Agent in an event. */
const longestText = 1024;
/** Longest X-Forwarded-For in an event: a handful of addresses. */
const longestChain = 256;
/** Longest Host header in an event: a name of 255 characters and a port. */
const longestHost = 300;

/**
 * Small bodies as text of one byte a character. Node joins head and body into one write when both are strings, while a
 * Buffer costs a second write. With the headers it stays below the 16 KiB that Node writes without allocating. The text
 * is made once for each Buffer, because bodies from memory are sent again and again and never change.
 */
const texts = new WeakMap<Buffer, string>();
/** Larger bodies go out in pieces of this many bytes, one after the other. */
const largestPiece = 256 * 1024;

/** What handlers find out for the event. */
export interface Findings {
  probe: Probe | undefined;
  ofNode: true | undefined;
  route: RouteKind;
  result: Result;
  source: Source;
  upstream: string | undefined;
  repository: string | undefined;
  reference: string | undefined;
  user: string | undefined;
  upstreamStatus: number | undefined;
  detail: string | undefined;
  content: EventContent | undefined;
  write: EventWrite | undefined;
}

/** What owns an exchange: the connection it is on. */
export interface ExchangeOwner {
  /** Milliseconds, from any start. */
  now(): number;
  /** The exchange has ended, however it went. */
  over(exchange: Exchange): void;
  /** See Exchange. */
  basePathOf(request: IncomingMessage): string;
  /** See Exchange. */
  originOf(request: IncomingMessage): string | undefined;
  /** See Exchange. */
  certifiedOf(request: IncomingMessage): CertifiedCaller | undefined;
  readonly onEvent: EventSink;
  readonly originHeaders: OriginHeaders;
  /** The connection is that of a worker of this node, whose requests are those of its clients. */
  readonly ofWorker: boolean;
}

/** The client has gone, so nothing more can be sent to it. Nothing has failed here. */
export class ClientLeft extends Error {
  constructor() {
    super("the client has left");
    this.name = "ClientLeft";
  }
}

export class Exchange {
  readonly request: IncomingMessage;
  readonly client: Client;
  /** For whom upstreams are asked: the client, until it has proved a name. */
  onBehalfOf: OnBehalfOf;
  /** What the caller is bound to; undefined: nothing but what every client is. */
  limit: CallerLimit | undefined;
  /** Its place among the open answers of the client; released when the exchange is over. */
  place: Place | undefined;
  /** Its span; undefined: it is not traced. */
  span: RequestSpan | undefined;
  /** Headers of every answer sent from now on. */
  readonly always: OutgoingHttpHeaders;
  /** The request came with a body, or promises one. */
  readonly hasBody: boolean;
  readonly findings: Findings = {
    probe: undefined,
    ofNode: undefined,
    route: "other",
    result: "error",
    source: "none",
    upstream: undefined,
    repository: undefined,
    reference: undefined,
    user: undefined,
    upstreamStatus: undefined,
    detail: undefined,
    content: undefined,
    write: undefined,
  };
  readonly #host: string | undefined;
  readonly #traceId: string | undefined;
  readonly #forwardedFor: string | undefined;
  readonly #response: ServerResponse;
  /** See RequestEvent. */
  readonly id: string;
  readonly #owner: ExchangeOwner;
  #cacheStatus: string | undefined;
  readonly #time = new Date();
  readonly #startedAt = performance.now();
  #firstByteAt: number | undefined;
  #bytesSent = 0;
  #bytesExpected: number | undefined;
  #cutBy: "upstream" | "node" | undefined;
  /** The client waits for 100 (Continue) before it sends its body. */
  #bodyWaits: boolean;
  /** All of the answer is out, although the request's body is still being read. */
  #answered = false;
  #lingers = false;
  #endsWithConnection = false;
  /** Since when the bytes given to the socket wait for the client. */
  #waitsSince: number | undefined;
  /** Holds the body back; most exchanges have none. */
  #pacer: AnswerPacer | undefined;
  #failWrite: ((error: Error) => void) | undefined;
  #ended = false;
  /** Another process of this node makes the event of this request; undefined while that is not known. */
  #grantsNothing = false;
  /** See `grantsLast`. */
  #grantsLast: number | undefined;
  #reportedElsewhere: boolean | undefined = false;
  /** The event, while it is not known who makes it. */
  #event: RequestEvent | undefined;
  /** Called when the exchange is over; most exchanges have none. */
  #listeners: Set<() => void> | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, client: Client, owner: ExchangeOwner) {
    this.#owner = owner;
    this.request = request;
    this.client = client;
    this.onBehalfOf = client;
    this.#response = response;
    this.id = requestId(request.headers["x-request-id"]);
    this.always = { "x-request-id": this.id };
    this.hasBody = hasBody(request);
    // Read now: the headers of a write are replaced when it is passed on.
    const { host } = request.headers;
    this.#host = host?.slice(host.lastIndexOf("@") + 1).slice(0, longestHost);
    this.#traceId = traceId(request.headers.traceparent);
    this.#forwardedFor = this.header("x-forwarded-for")?.slice(0, longestChain);
    this.#bodyWaits = this.hasBody && request.headers.expect !== undefined && request.httpVersion === "1.1";
    response.on("close", () => this.over());
    response.on("error", ignore);
  }

  /** The exchange has ended: Node has closed the response, or the connection has gone. Idempotent. */
  over(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failWrite?.(new ClientLeft());
    if (this.#listeners !== undefined) for (const listener of this.#listeners) listener();
    this.place?.release();
    this.#owner.over(this);
    this.span?.finish(this.#makeEvent(), this.#reportedElsewhere === false);
    if (this.#reportedElsewhere === true) return;
    const event = this.#makeEvent();
    if (this.#reportedElsewhere === undefined) this.#event = event;
    else this.#owner.onEvent(event);
  }

  /** Calls the listener when the exchange is over, unless the returned function is called before. */
  onOver(listener: () => void): () => void {
    this.#listeners ??= new Set();
    this.#listeners.add(listener);
    return () => this.#listeners?.delete(listener);
  }

  /** Notes where the answer comes from, for the event and, unless it becomes an error, for the headers. */
  found(served: Served): void {
    this.findings.result = served.result;
    this.findings.source = served.source;
    if (this.#owner.originHeaders.cacheStatus) this.#cacheStatus = cacheStatus(served);
  }

  /** What stands before the path of this mirror for its client: "" or a path without a slash at its end. */
  get basePath(): string {
    return this.#owner.basePathOf(this.request);
  }

  /**
   * Scheme, host and port at which the client has reached this mirror, as `https://mirror.example.com:5000`; undefined when it
   * has not said so in any way that can be understood.
   */
  get origin(): string | undefined {
    return this.#owner.originOf(this.request);
  }

  /** Whom the certificate of the client's connection names; undefined: nobody. */
  get certified(): CertifiedCaller | undefined {
    return this.#owner.certifiedOf(this.request);
  }

  get isHead(): boolean {
    return this.request.method === "HEAD";
  }

  /** The client accepts chunks, so a body without a length has an end. In HTTP/1.0 it does not. */
  get acceptsChunks(): boolean {
    if (this.#owner.ofWorker && this.request.headers[oldHttpHeader] !== undefined) return false;
    return this.request.httpVersion === "1.1";
  }

  /** A worker asks for its client, and takes a grant for an answer. */
  get takesGrant(): boolean {
    return (
      this.#owner.ofWorker && !this.#grantsNothing && this.request.headers[takesGrantHeader] !== undefined
    );
  }

  /** From now on the answer is no grant. */
  grantNothing(): void {
    this.#grantsNothing = true;
  }

  /** A grant counts for so many milliseconds at most. */
  grantsLast(milliseconds: number): void {
    this.#grantsLast = milliseconds;
  }

  get headersSent(): boolean {
    return this.#response.headersSent;
  }

  /** True once the client is gone, has been cut off, or has the whole of an answer whose request is still coming. */
  get closed(): boolean {
    return this.#ended || this.#lingers || this.#response.destroyed || this.request.socket.destroyed;
  }

  /** The body of the answer ends where the connection does. */
  get endsWithConnection(): boolean {
    return this.#endsWithConnection;
  }

  /** The answer is out, and the rest of the request's body is being read and dropped. */
  get lingers(): boolean {
    return this.#lingers;
  }

  /** The response, which http-proxy insists on. It must not write to it: answers go through the methods below. */
  get response(): ServerResponse {
    return this.#response;
  }

  /** The bytes of the body are held back from now on: those of bodies above 256 KiB, or of unknown length. */
  pace(pacer: AnswerPacer): void {
    this.#pacer = pacer;
    this.onOver(() => pacer.over());
  }

  /** A header by its lower-case name; the first one when several were sent. */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  /** Sends 100 (Continue) to a client that waits for it before it sends its body. */
  proceed(): void {
    if (!this.#bodyWaits || this.closed || this.headersSent) return;
    this.#bodyWaits = false;
    this.#response.writeContinue();
  }

  /**
   * Sends a whole answer. HEAD gets the same headers, with the length the body would have, and no body. The rest of the
   * request's body is read and dropped, within bounds, before the connection may end.
   */
  send(status: number, headers: OutgoingHttpHeaders, body: Buffer | string = ""): void {
    if (this.closed) return;
    const length = Buffer.byteLength(body);
    const bodiless = this.isHead || status === 304;
    // A client that waits for 100 may send its body or not, so nothing that comes next could be read with certainty.
    const sentHeaders = this.#bodyWaits ? { ...headers, connection: "close" } : headers;
    this.#head(status, sentHeaders, status === 304 ? undefined : length);
    this.#bytesExpected = bodiless ? 0 : length;
    this.#waitsSince = this.#owner.now();
    const sent = bodiless ? "" : body;
    if (this.hasBody && !this.request.complete && !this.#bodyWaits) this.#linger(sent);
    else if (sent.length > largestPiece)
      void this.#sendInPieces(typeof sent === "string" ? Buffer.from(sent) : sent);
    else {
      this.#bytesSent = bodiless ? 0 : length;
      this.#pacer?.count(this.#bytesSent);
      if (typeof sent === "string" || sent.length > largestText) this.#response.end(sent);
      else this.#response.end(textOf(sent), "latin1");
    }
  }

  /** In pieces, so that a client that takes the body slowly can be told from one that takes nothing. */
  async #sendInPieces(body: Buffer): Promise<void> {
    try {
      for (let at = 0; at < body.length; at += largestPiece)
        await this.write(body.subarray(at, at + largestPiece));
      this.end();
    } catch {
      this.leave();
    }
  }

  /** Lets the worker that asks answer its client. `body`: that of a manifest or a small blob. */
  grant(content: GrantedContent, body: Buffer | "" = ""): void {
    this.send(200, this.#granting(content), body);
  }

  /** The same for a blob on its way, of which the caller tells how far it is. */
  beginGrant(content: GrantedContent): void {
    this.begin(200, this.#granting(content), undefined);
  }

  #granting(content: GrantedContent): OutgoingHttpHeaders {
    const { route, source, reference = "", user } = this.findings;
    const { "x-request-id": _, ...headers } = this.always as Record<string, string>;
    this.reportedElsewhere(true);
    const lasts = this.#grantsLast;
    return { [grantHeader]: writeGrant({ ...content, route, source, reference, user, headers, lasts }) };
  }

  /**
   * Whether another process of this node, which has asked this one or is asked by it, makes the event; undefined: that
   * will be known later, also when the exchange is over before.
   */
  reportedElsewhere(elsewhere: boolean | undefined): void {
    this.#reportedElsewhere = elsewhere;
    const event = this.#event;
    if (elsewhere === undefined || event === undefined) return;
    this.#event = undefined;
    if (!elsewhere) this.#owner.onEvent(event);
  }

  #linger(body: Buffer | string): void {
    this.#lingers = true;
    const done = (): void => {
      this.#answered = true;
    };
    if (body.length === 0) this.#response.flushHeaders();
    this.#response.write(body, done);
    this.#bytesSent = Buffer.byteLength(body);
    void discardBody(this.request, abandoned).then(() => this.#response.end());
  }

  /** Sends the headers of an answer to HEAD whose body would have `length` bytes. */
  sendHead(status: number, headers: OutgoingHttpHeaders, length: number | undefined): void {
    if (this.closed) return;
    this.#head(status, headers, length);
    this.#bytesExpected = 0;
    this.end();
  }

  /** Starts an answer whose body follows through `write`; without a length it is chunked. Not once it is `closed`. */
  begin(status: number, headers: OutgoingHttpHeaders, length: number | undefined): void {
    this.#head(status, headers, length);
    this.#bytesExpected = length;
    this.#endsWithConnection = length === undefined && !this.acceptsChunks;
    this.#response.flushHeaders();
  }

  /** Resolves when the kernel has taken the chunk. Rejects with ClientLeft. One call at a time. */
  write(chunk: Buffer): Promise<void> {
    const turn = this.#pacer?.came(chunk.length);
    return turn === undefined ? this.#write(chunk) : turn.then(() => this.#write(chunk));
  }

  #write(chunk: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.closed) {
        reject(new ClientLeft());
        return;
      }
      this.#waitsSince = this.#owner.now();
      this.#failWrite = reject;
      this.#response.write(chunk, (error) => {
        this.#waitsSince = undefined;
        this.#failWrite = undefined;
        if (error) {
          reject(new ClientLeft());
          return;
        }
        this.#bytesSent += chunk.length;
        resolve();
      });
    });
  }

  end(): void {
    this.#waitsSince = this.#owner.now();
    this.#response.end();
  }

  /**
   * Ends a started answer short: what is written goes out, then FIN, so that clients resume (containerd gives up on
   * RST; docs/clients.md 31). Nothing is appended, and a chunked body gets no final chunk. In HTTP/1.0 without a length
   * FIN would be the end of the body: there it is RST.
   */
  cut(by: "upstream" | "node"): void {
    this.#cutBy ??= by;
    this.#waitsSince = this.#owner.now();
    const { socket } = this.#response;
    if (socket === null) this.#response.destroy();
    else if (this.#endsWithConnection) cutConnection(socket);
    else socket.destroySoon();
  }

  /** Ends the connection at once, because the client takes no more bytes. */
  drop(): void {
    this.#cutBy ??= "node";
    this.findings.detail ??= "the client stopped reading";
    const { socket } = this.#response;
    if (this.#endsWithConnection && socket !== null) cutConnection(socket);
    this.#response.destroy();
  }

  /** The client has turned out to be gone, perhaps by a write that failed, before the connection was closed. */
  leave(): void {
    if (!this.#ended) this.#response.destroy();
  }

  /** Milliseconds in which the client has taken no byte; 0 when no byte waits for it. */
  stalledFor(now: number): number {
    return this.#waitsSince === undefined ? 0 : now - this.#waitsSince;
  }

  /** `length`: that of the body, when it is known. */
  #head(status: number, headers: OutgoingHttpHeaders, length: number | undefined): void {
    this.#firstByteAt = performance.now();
    const all: OutgoingHttpHeaders = { ...this.always, ...headers };
    if (length !== undefined) all["content-length"] = length;
    // An error is made by this mirror, whatever was found before (RFC 9211, section 2).
    if (this.#cacheStatus !== undefined && status < 400) all["cache-status"] = this.#cacheStatus;
    if (this.#owner.originHeaders.serverTiming === true && this.#reportedElsewhere !== true)
      all["server-timing"] = serverTiming(this.findings.result, this.#firstByteAt - this.#startedAt);
    this.#response.writeHead(status, all);
  }

  #makeEvent(): RequestEvent {
    const { request, findings } = this;
    const now = performance.now();
    const status = this.#response.headersSent ? this.#response.statusCode : 499;
    const complete = (this.#response.writableFinished || this.#answered) && this.#cutBy === undefined;
    const byClient = !complete && this.#cutBy === undefined;
    // Field by field: copying the findings with `...` takes V8 several times as long.
    return {
      time: this.#time,
      id: this.id,
      traceId: this.span === undefined ? this.#traceId : this.span.traceId,
      method: request.method ?? "",
      probe: findings.probe,
      ofNode: findings.ofNode,
      route: findings.route,
      path: loggedPath(request.url ?? ""),
      upstream: findings.upstream,
      repository: findings.repository,
      reference: findings.reference,
      result: byClient ? "aborted" : this.#cutBy === undefined ? findings.result : "error",
      source: findings.source,
      upstreamStatus: findings.upstreamStatus,
      detail: findings.detail,
      content: findings.content,
      write: findings.write,
      status,
      bytesSent: this.#bytesSent,
      bytesExpected: this.#bytesExpected,
      ttfbMs: this.#firstByteAt === undefined ? undefined : this.#firstByteAt - this.#startedAt,
      durationMs: now - this.#startedAt,
      abortedBy: complete ? undefined : (this.#cutBy ?? "client"),
      client: this.client.address,
      user: findings.user,
      forwardedFor: this.#forwardedFor,
      userAgent: request.headers["user-agent"]?.slice(0, longestText),
      host: this.#host,
    };
  }
}

function textOf(body: Buffer): string {
  let text = texts.get(body);
  if (text === undefined) {
    text = body.toString("latin1");
    texts.set(body, text);
  }
  return text;
}

/** For errors of a response: its `close` event says that it has ended. */
function ignore(): void {}

/** The target without its query, and without a possible user and password before a host. */
function loggedPath(target: string): string {
  const query = target.indexOf("?");
  const path = query < 0 ? target : target.slice(0, query);
  return (path.includes("@") ? withoutUserInfo(path) : path).slice(0, longestText);
}

/**
 * Hides the user in `http://user:password@host/`, `//user@host/` and the `user@host:443` of CONNECT (RFC 9112, section
 * 3.2), also after a leading slash. It hides everything up to the last `@`, because a password may contain `@` or `/`
 * although neither is allowed.
 */
function withoutUserInfo(path: string): string {
  const scheme = path.indexOf("//");
  if (scheme < 0 && path.startsWith("/")) return path;
  const start = scheme < 0 ? 0 : scheme + 2;
  const end = path.lastIndexOf("@");
  return end < start ? path : `${path.slice(0, start)}[redacted]${path.slice(end)}`;
}
