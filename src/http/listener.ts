// The listener clients talk to: it takes connections, bounds them, and stops them. What becomes of a request begins in
// serve.ts.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import {
  type CertificateNames,
  type CertificateNaming,
  type CertifiedCaller,
  callerOfKey,
  certifiedCaller,
} from "../gate/certificate-caller.ts";
import type { EventSink } from "../ports/event.ts";
import { basePathHeader, certificateHeader, clientHeader, originHeader } from "../ports/grant.ts";
import { type Bound, type ListenPlace, listenAt } from "../ports/listening.ts";
import { unixPeer } from "../ports/networks.ts";
import { type ServerTls, TlsFront } from "../ports/tls-front.ts";
import { viaOf } from "../ports/via.ts";
import { ClientAddresses, type ClientAddressesOptions } from "./client-address.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { type Failure, fail, failures } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { OriginHeaders } from "./origin-headers.ts";
import { takeProxyHeader } from "./proxy-protocol.ts";
import { isProbe } from "./serve.ts";

export interface ListenerOptions extends OriginHeaders, ClientAddressesOptions {
  /** Answers a request. Must not throw. */
  readonly serve: (exchange: Exchange) => void;
  readonly onEvent: EventSink;
  /** Called with errors that are bugs of this program. */
  readonly unexpected: (error: unknown) => void;
  /** This node's name in Via. */
  readonly pseudonym: string;
  /** The clients are workers of this node, which name their own clients; left out: they are not. */
  readonly ofWorkers?: boolean;
  /** The path below which clients reach this listener, when no trusted proxy names another one; "" when left out. */
  readonly basePath?: string;
  /** Whether answers carry Via with this node's name (RFC 9110, section 7.6.3); not when left out. */
  readonly via?: boolean;
  /**
   * Most connections that are served; any number when left out. Some more get 503, so that load balancers can still
   * probe.
   */
  readonly maxConnections?: number;
  readonly timeouts?: Partial<ListenerTimeouts>;
  /** Left out: clients speak plain HTTP. */
  readonly tls?: ServerTls | undefined;
  /** What names callers in the certificates of clients; left out: nothing does. */
  readonly certificates?: CertificateNaming | undefined;
  /** Milliseconds from any start; since the start of the process when left out. */
  readonly now?: () => number;
}

/** What may change while requests are served. */
export type ListenerRules = Pick<
  ListenerOptions,
  | "serve"
  | "trustedProxies"
  | "exempt"
  | "basePath"
  | "cacheStatus"
  | "serverTiming"
  | "via"
  /** For connections to come. */
  | "certificates"
>;

/** Milliseconds. */
export interface ListenerTimeouts {
  /** For a client's next request. */
  readonly keepAlive: number;
  /** For the head of a request, from its first byte; for the first request, from the start of the connection. */
  readonly headers: number;
}

/** 1,024 ranges in one header take 20 kB: above Node's default of 16 KiB they would be answered 431. */
const maxHeaderSize = 64 * 1024;
/** Go clients keep idle connections for 90 s; this side must keep them longer. */
const defaultTimeouts: ListenerTimeouts = { keepAlive: 100_000, headers: 15_000 };
const connectionsCheckingInterval = 1_000;
/** A client that takes no byte for this long is cut off; kubelet gives up after the same time. */
const stallLimit = 300_000;
const stallCheck = 10_000;
/** Bounds of the connections above the limit that are answered 503: a quarter of it. Even more are closed at once. */
const refusedConnections = { least: 8, most: 64 };

export class Listener {
  readonly #server: Server;
  readonly #connections = new Map<Socket, Connection>();
  /** Connections of trusted proxies that have not said yet whose they are, and those that have not come to speak HTTP. */
  readonly #coming = new Set<Socket>();
  /** It listens at a unix socket, whose clients have no addresses. */
  #isLocal = false;
  #inFlight = 0;
  /** Called when no answer is under way any more; undefined while this node does not drain. */
  #idle: (() => void) | undefined;
  readonly #tls: TlsFront | undefined;
  readonly #stalls: NodeJS.Timeout;
  readonly #unexpected: (error: unknown) => void;
  /** What a request is served with that begins now. */
  #options: ListenerOptions;
  #clients: ClientAddresses;

  constructor(options: ListenerOptions) {
    this.#unexpected = options.unexpected;
    this.#options = options;
    this.#clients = new ClientAddresses(options);
    const { maxConnections = Number.POSITIVE_INFINITY, timeouts, now = () => performance.now() } = options;
    const { keepAlive: keepAliveTimeout, headers: headersTimeout } = { ...defaultTimeouts, ...timeouts };
    const ofWorker = options.ofWorkers ?? false;
    const owner: ConnectionOwner = {
      now,
      ofWorker,
      clientOf: (request, address) =>
        ofWorker ? this.#clients.named(request.headers[clientHeader]) : this.#clients.of(request, address),
      basePathOf: ({ headers }, address) => {
        // A worker has judged what its client's proxy says.
        if (ofWorker) return String(headers[basePathHeader] ?? "");
        return this.#clients.forwardedPrefix(headers, address) ?? this.#options.basePath ?? "";
      },
      originOf: ({ headers }, address) => {
        if (ofWorker) return headers[originHeader]?.toString();
        const scheme = this.#tls === undefined ? "http" : "https";
        return this.#clients.originOf(headers, address, scheme);
      },
      certifiedOf: ({ headers }) => callerOfKey(headers[certificateHeader]?.toString() ?? ""),
      onEvent: options.onEvent,
      originHeaders: () => this.#options,
      begun: () => {
        this.#inFlight += 1;
      },
      over: () => {
        this.#inFlight -= 1;
        if (this.#inFlight === 0) this.#idle?.();
      },
      serve: (exchange) => {
        const refusal = this.#refusal(maxConnections);
        if (refusal !== undefined && !isProbe(exchange.request.url)) return refuse(exchange, refusal);
        const now = this.#options;
        // A worker names the node to its client.
        if (now.via === true && !ofWorker) exchange.always.via = viaOf(now.pseudonym);
        now.serve(exchange);
      },
      refuse: refuseBody,
    };
    const take = (request: IncomingMessage, response: ServerResponse): void =>
      this.#connections.get(request.socket)?.take(request, response);
    this.#server = createServer(
      {
        maxHeaderSize,
        keepAliveTimeout,
        headersTimeout,
        // How often Node looks for heads that are late.
        connectionsCheckingInterval,
        // No limit on a whole request: a layer may take hours to push. A body that is passed on may not fall silent for
        // long (push/forwarding.ts), one that is not wanted is bounded as a whole (request-body.ts).
        requestTimeout: 0,
        noDelay: true,
        // serve.ts answers it, so that it has an event.
        requireHostHeader: false,
        // Otherwise Node reads on after a request without a body, however many requests wait already.
        optimizeEmptyRequests: true,
      },
      take,
    );
    // No limit on their number, which would hide a body length behind it (CVE-2026-58044). Their size is bounded above.
    this.#server.maxHeadersCount = 0;
    if (Number.isFinite(maxConnections))
      this.#server.maxConnections = maxConnections + refusedBeyond(maxConnections);
    const [readHttp] = this.#server.listeners("connection");
    this.#server.removeAllListeners("connection");
    const begin = (socket: Socket, address: string): void => {
      readHttp?.call(this.#server, socket);
      this.#connections.set(socket, new Connection(socket, owner, address, this.#certified(socket)));
      if (this.#connections.size > maxConnections) this.#server.closeIdleConnections();
      socket.once("close", () => this.#connections.delete(socket));
    };
    this.#tls = options.tls === undefined ? undefined : new TlsFront(options.tls, headersTimeout);
    const start = this.#tls === undefined ? begin : this.#securing(this.#tls, begin);
    this.#server.on("connection", (socket: Socket) => {
      // Node caches the address from the first read on. Read later, it may be gone with the client.
      const address = socket.remoteAddress ?? (this.#isLocal ? unixPeer : "");
      if (ofWorker || !this.#clients.trusts(address)) return start(socket, address);
      this.#comes(socket);
      takeProxyHeader(socket, headersTimeout, (source) => {
        this.#coming.delete(socket);
        start(socket, source ?? address);
      });
    });
    this.#server.on("clientError", (error, socket) =>
      this.#connections.get(socket as Socket)?.unreadable(error),
    );
    this.#server.on("checkContinue", take);
    this.#server.on("checkExpectation", take);
    this.#server.on("connect", (request) => this.#connections.get(request.socket)?.connect(request));
    this.#stalls = setInterval(() => this.cutStalled(), stallCheck);
    this.#stalls.unref();
  }

  /** Until it is taken out of #coming it has not begun. */
  #comes(socket: Socket): void {
    this.#coming.add(socket);
    socket.once("close", () => this.#coming.delete(socket));
  }

  /** Begins with connections once their handshakes are over. */
  #securing(tls: TlsFront, begin: (socket: Socket, address: string) => void): typeof begin {
    return (socket, address) => {
      this.#comes(socket);
      tls.take(socket, (secured) => {
        this.#coming.delete(socket);
        begin(secured, address);
      });
    };
  }

  #certified(socket: Socket): CertifiedCaller | undefined {
    const { certificates } = this.#options;
    if (certificates === undefined || !(socket instanceof TLSSocket) || !socket.authorized) return undefined;
    // Without a certificate it is an empty object.
    const shown: Partial<CertificateNames> = socket.getPeerCertificate();
    return shown.subject && certifiedCaller({ ...shown, subject: shown.subject }, certificates);
  }

  /** For connections to come, of a listener that speaks TLS. Throws OpenSSL's error for what cannot be used. */
  useTls(tls: ServerTls): void {
    this.#tls?.use(tls);
  }

  /** Answers under way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Makes these ready for requests to come, which they serve from the call of the returned function on; requests under way
   * go on with what they began with. Throws the system's error for what is neither an address nor a network.
   */
  prepare(rules: Partial<ListenerRules>): () => void {
    const options = { ...this.#options, ...rules };
    const clients = new ClientAddresses(options);
    return () => {
      this.#options = options;
      this.#clients = clients;
    };
  }

  /** Resolves when the requests under way now have ended. */
  async settled(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((connection) => connection.settled()));
  }

  /** Rejects with the system's error when the place cannot be had. */
  async listen(place: ListenPlace): Promise<Bound> {
    const bound = await listenAt(this.#server, place);
    this.#isLocal = bound.path !== undefined;
    // A failing accept (EMFILE, ENFILE) is an error event, and without a listener for it the process would end.
    this.#server.on("error", this.#unexpected);
    return bound;
  }

  /**
   * Closes idle connections, and resolves when every answer under way has ended. Until then probes are answered, and
   * all other new requests get 503: a load balancer that cannot connect takes the node for dead and ends the transfers
   * that still run.
   */
  async drain(): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
    this.#server.closeIdleConnections();
    if (this.#inFlight > 0) await idle;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    for (const socket of this.#coming) socket.destroy();
    await closed;
  }

  /** Why nothing but probes is served at present; undefined when everything is. */
  #refusal(maxConnections: number): Failure | undefined {
    if (this.#idle !== undefined) return failures.draining;
    return this.#connections.size > maxConnections ? failures.tooManyConnections : undefined;
  }

  /** Cuts the connections that are left. */
  stop(): void {
    clearInterval(this.#stalls);
    this.#server.close();
    for (const socket of this.#coming) socket.destroy();
    for (const connection of this.#connections.values()) connection.destroy();
  }

  /** Cuts connections whose client has taken no byte of its answer for 300 s. A timer does so every 10 s. */
  cutStalled(): void {
    for (const connection of this.#connections.values()) connection.cutStalled(stallLimit);
  }
}

function refusedBeyond(maxConnections: number): number {
  const { least, most } = refusedConnections;
  return Math.min(most, Math.max(least, Math.ceil(maxConnections / 4)));
}

function refuse(exchange: Exchange, failure: Failure): void {
  fail(exchange, { ...failure, headers: { ...failure.headers, connection: "close" } });
}

/** For a request whose head is sound and whose body is not. An answer that has begun goes on. */
function refuseBody(exchange: Exchange): void {
  if (exchange.headersSent) return;
  exchange.findings.detail = "a body that cannot be read";
  fail(exchange, { ...failures.badRequest, headers: { connection: "close" } });
}
