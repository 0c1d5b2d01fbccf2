// The second listener, for operators, programs and monitoring: liveness, readiness with its reasons, metrics, the stats page, the
// API with its jobs, webhooks.
// Bound to loopback by default, and apart from the first so that a flood of clients cannot hide a node's state.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isIP, type Socket } from "node:net";
import type { Logger } from "pino";
import { belowBase } from "../oci/base-path.ts";
import type { Clock } from "../ports/clock.ts";
import { type Bound, isLocalOnly, type ListenPlace, listenAt } from "../ports/listening.ts";
import { SharedCall } from "../ports/single-flight.ts";
import { connectionBelow, type ServerTls, TlsFront } from "../ports/tls-front.ts";
import type { Metrics } from "../telemetry/metrics/prometheus.ts";
import { nameOf, OpsAccess, type OpsAccessOptions } from "./access.ts";
import type { ChangingApi, OpsAnswer } from "./answer.ts";
import type { Api } from "./api/api.ts";
import { apiError, isOfApi } from "./api/api-error.ts";
import { type Audited, audit } from "./audit.ts";
import { crossSiteReason, foreignReason } from "./cross-site.ts";
import type { Health } from "./health.ts";
import type { StatsPages } from "./stats/stats-pages.ts";
import type { WebhookReceiver } from "./webhooks/webhook-receiver.ts";

export interface OpsListener {
  /** See listenAt. */
  listen(place: ListenPlace): Promise<Bound>;
  /** Stops accepting, lets answers under way finish for a second, then closes every connection. Idempotent. */
  close(): Promise<void>;
  /** For connections to come, of a listener that speaks TLS. Throws OpenSSL's error for what cannot be used. */
  useTls(tls: ServerTls): void;
}

export interface OpsListenerOptions {
  readonly health: Pick<Health, "readiness" | "report">;
  readonly metrics: Pick<Metrics, "render" | "contentType">;
  readonly log: Pick<Logger, "info" | "error">;
  /** Left out: no webhook is taken. */
  readonly webhooks?: Pick<WebhookReceiver, "receive"> | undefined;
  /** Left out: there is no stats page. */
  readonly stats?: StatsPages | undefined;
  /** Left out: there is no API. */
  readonly api?: Api | undefined;
  /** The parts of the API that are asked for changes; left out: nothing can be changed. */
  readonly changing?: readonly ChangingApi[];
  /** Host names, without port, under which the stats page answers now besides addresses and localhost. */
  readonly hosts?: () => readonly string[];
  /** Path below which a proxy serves this listener; "" when left out. Requests may come with it or without. */
  readonly basePath?: () => string;
  /** The path that a trusted proxy says it has taken away; undefined when none does. Left out: none is trusted. */
  readonly forwardedPrefix?: (request: IncomingMessage) => string | undefined;
  /** See OpsAccess; left out: neither a password nor a token is set. */
  readonly access?: OpsAccessOptions["rules"];
  /** The client's network, by which wrong passwords are counted. Left out: the address of the connection. */
  readonly networkOf?: (request: IncomingMessage) => string;
  /** A steady one; left out: real time. */
  readonly clock?: Clock;
  /** Left out: plain HTTP. */
  readonly tls?: ServerTls | undefined;
  /** Left out: the usual ones. */
  readonly timeouts?: OpsTimeouts;
}

/** Milliseconds. */
export interface OpsTimeouts {
  /** Without progress on a connection before it is closed. */
  readonly idle: number;
  /** The same while the API works for an answer. */
  readonly answer: number;
}

type Page = () => OpsAnswer | Promise<OpsAnswer>;

/** Connections at once; for one more, the one without a request for the longest time is closed. */
const maxConnections = 256;
/** Milliseconds for the head of a request to arrive. Bodies have times of their own (request-body.ts, imports). */
const headTimeout = 10_000;
/** `answer`: as long as `entrepot readiness` waits, and more than anything else of the API takes. */
const usualTimeouts: OpsTimeouts = { idle: 30_000, answer: 300_000 };
const closeTimeout = 1000;
const maxHeaderSize = 8192;

/**
 * Serves `/livez`, `/readyz` (also as `/healthz`), `/metrics`, the API and the stats page, whose request bodies are never read, and webhooks below
 * `/hooks/`, which have a secret of their own. The API and the stats page are for those who ask for this machine by an
 * address or a name of its own: any other Host is one that a page from elsewhere has made a browser believe in (DNS
 * rebinding), and gets 421. They are for those who may see them (access.ts), as is everything that is none of the others.
 */
export function createOpsListener({
  health,
  metrics,
  log,
  webhooks,
  stats,
  api,
  changing = [],
  hosts = () => [],
  basePath = () => "",
  forwardedPrefix = () => undefined,
  access: rules = () => undefined,
  networkOf = ({ socket }) => socket.remoteAddress ?? "",
  clock = () => performance.now(),
  tls,
  timeouts = usualTimeouts,
}: OpsListenerOptions): OpsListener {
  const readyz: Page = () => ({ status: health.readiness(), body: `${health.report().join("\n")}\n` });
  const pages = new Map<string, Page>([
    ["/livez", () => ({ status: 200, body: "ok\n" })],
    ["/readyz", readyz],
    // The name that many probes ask for.
    ["/healthz", readyz],
    ["/metrics", metricsPage(metrics)],
  ]);
  const isOurs = (header: string | undefined): boolean => {
    const host = hostOf(header);
    return (
      host === "localhost" ||
      isAddress(host) ||
      hosts().some((each) => each !== "" && each.toLowerCase() === host)
    );
  };
  const access = new OpsAccess({ rules, clock });
  let isLocal = false;
  const refusalOf: Served["refusalOf"] = async (request, audited) => {
    const { authorization } = request.headers;
    const refused = await access.refusalOf(authorization, networkOf(request), isLocal);
    if (refused === undefined) audited.who = nameOf(rules() === undefined ? undefined : authorization);
    return refused;
  };
  const used = recentlyUsed();
  const server = createServer(
    {
      headersTimeout: headTimeout,
      requestTimeout: 0,
      keepAliveTimeout: timeouts.idle,
      connectionsCheckingInterval: 5000,
      maxHeaderSize,
    },
    (request, response) => {
      used(connectionBelow(request.socket));
      const configured = basePath();
      request.url = belowBase(request.url ?? "", configured);
      const base = forwardedPrefix(request) ?? configured;
      const audited = audit(request, response, networkOf(request), log);
      const served = {
        pages,
        webhooks,
        stats,
        api,
        changing,
        isOurs,
        refusalOf,
        answerTimeout: timeouts.answer,
        basePath: base,
        audited,
      };
      answer(served, request, response).catch((error: unknown) => {
        log.error({ err: error }, "the ops listener failed to answer");
        const failed = { status: 500, body: "failed; the log tells why\n" };
        if (response.headersSent) response.destroy();
        else send(request, response, isOfApi(pathOf(request.url)) ? apiError(failed) : failed);
      });
    },
  );
  const front = tls === undefined ? undefined : new TlsFront(tls, headTimeout);
  if (front !== undefined) {
    const [readHttp] = server.listeners("connection");
    server.removeAllListeners("connection");
    server.on("connection", (socket) => {
      front.take(socket, (secured) => readHttp?.call(server, secured));
    });
  }
  server.on("connection", used);
  server.timeout = timeouts.idle;
  let closing: Promise<void> | undefined;
  return {
    async listen(place) {
      const bound = await listenAt(server, place);
      isLocal = isLocalOnly(bound);
      // A failing accept (EMFILE) is an error event, and one without a listener ends the process.
      server.on("error", (error) => log.error({ err: error }, "the ops listener failed to accept"));
      return bound;
    },
    close() {
      stats?.end();
      closing ??= close(server);
      return closing;
    },
    useTls: (next) => front?.use(next),
  };
}

/** Scrapers that come at the same time share one rendering. */
function metricsPage(metrics: OpsListenerOptions["metrics"]): Page {
  const rendering = new SharedCall<string>();
  return async () => {
    const body = await rendering.run(() => metrics.render());
    return { status: 200, body, type: metrics.contentType };
  };
}

/**
 * To be called for every connection and request. Closes the connection without a request for the longest time: a limit that
 * turns away new connections would let held ones keep a load balancer from /readyz.
 */
function recentlyUsed(): (socket: Socket) => void {
  const sockets = new Set<Socket>();
  return (socket) => {
    if (!sockets.delete(socket)) socket.once("close", () => sockets.delete(socket));
    sockets.add(socket);
    if (sockets.size <= maxConnections) return;
    const [longest] = sockets;
    longest?.destroy();
  };
}

/** Of a request's target. */
function pathOf(target = ""): string {
  return target.split("?", 1)[0] ?? "";
}

/** A Host header without its port, in lower case; an IPv6 address without its brackets. */
function hostOf(header: string | undefined): string {
  const [, bracketed, plain = ""] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header ?? "") ?? [];
  return (bracketed ?? plain).toLowerCase();
}

function isAddress(host: string): boolean {
  return isIP(host) !== 0;
}

interface Served extends Pick<OpsListenerOptions, "webhooks" | "stats" | "api"> {
  readonly changing: readonly ChangingApi[];
  readonly pages: ReadonlyMap<string, Page>;
  /** Whether a Host header names this machine. */
  readonly isOurs: (host: string | undefined) => boolean;
  /** The answer to one that may not see what is behind the password. */
  readonly refusalOf: (request: IncomingMessage, audited: Audited) => Promise<OpsAnswer | undefined>;
  /** See OpsTimeouts. */
  readonly answerTimeout: number;
  readonly basePath: string;
  readonly audited: Audited;
}

async function answer(served: Served, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pages, webhooks, stats, api, changing, answerTimeout, basePath, audited } = served;
  const target = request.url ?? "";
  const path = pathOf(target);
  const isApi = isOfApi(path);
  const say = (said: OpsAnswer): void => send(request, response, isApi ? apiError(said) : said);
  const page = pages.get(path);
  const received = path.startsWith("/hooks/") ? await webhooks?.receive(request) : undefined;
  if (received?.sender !== undefined) {
    audited.who = `webhook:${received.sender}`;
    audited.outcome = received.result;
    audited.about = received.about;
  }
  const { method, headers } = request;
  const crossSite = crossSiteReason(method, headers) ?? (isApi ? foreignReason(headers) : undefined);
  const first = received ?? (page === undefined ? await refusal(request, served) : undefined);
  const change = changing.find((each) => each.has(path));
  const isThere = page !== undefined || stats?.has(path) || api?.paths.includes(path) || change !== undefined;
  if (first !== undefined) {
    say(first);
  } else if (!isThere) {
    const here = isApi
      ? [...(api?.paths ?? []), ...changing.flatMap(({ paths }) => paths)]
      : [...(stats?.paths ?? []), ...pages.keys()];
    say({ status: 404, body: `here are: ${here.join(" ")}\n` });
  } else if (page === undefined && crossSite !== undefined) {
    say({ status: 403, body: `${crossSite}\n` });
  } else if (change !== undefined) {
    // Until the answer is sent: after it Node takes the usual time again.
    request.socket.setTimeout(answerTimeout);
    const told = await change.answer(path, request);
    audited.about = told.about;
    audited.outcome = told.outcome;
    say(told);
  } else if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    say({ status: 405, body: "only GET and HEAD\n" });
  } else if (page !== undefined) {
    say(await page());
  } else if (api !== undefined && isApi) {
    request.socket.setTimeout(answerTimeout);
    const query = new URLSearchParams(target.slice(path.length + 1));
    say(await api.answer(path, query));
  } else {
    closeAfterBody(request, response);
    await stats?.answer(path, request, response, basePath);
  }
}

/** The answer to a request that is not served, for what is neither health, nor metrics, nor a webhook. */
async function refusal(
  request: IncomingMessage,
  { isOurs, refusalOf, audited }: Served,
): Promise<OpsAnswer | undefined> {
  const { headers } = request;
  if (!isOurs(headers.host)) {
    const body = "not a name of this machine; those it is reached by stand in opsHosts\n";
    return { status: 421, body };
  }
  return await refusalOf(request, audited);
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, body, type = "text/plain; charset=utf-8", headers: more = {} }: OpsAnswer,
): void {
  closeAfterBody(request, response);
  response.writeHead(status, {
    ...more,
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(body);
}

/** Node would read an unread body to its end before the next request; closing does away with both. */
function closeAfterBody({ complete, headers }: IncomingMessage, response: ServerResponse): void {
  if (!complete && ("transfer-encoding" in headers || (headers["content-length"] ?? "0") !== "0"))
    response.setHeader("connection", "close");
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  const timer = setTimeout(() => server.closeAllConnections(), closeTimeout);
  await promise;
  clearTimeout(timer);
}
