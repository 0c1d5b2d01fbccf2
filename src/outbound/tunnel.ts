// A connection to somewhere else through a proxy: by CONNECT of HTTP (RFC 9110, section 9.3.6), or SOCKS5 (RFC 1928, 1929).
// undici's own proxy agents are not used: each brings connections and limits of its own, the one for SOCKS5 none at all, and
// nothing but undici can use them, while writes and S3 go out through Node's client.
import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { buildConnector, Client } from "undici";
import type { ProxyServer } from "../config/config.ts";
import { localTroubles } from "../ports/upstream.ts";
import { authorityOf, bare, proxyAuthorization } from "./proxy.ts";

/** The proxy failed or refused. The message names it, without its account, and holds nothing it has sent. */
export class ProxyError extends Error {
  override readonly name = "ProxyError";
  readonly code = "ERR_PROXY";
  /** It took too long. */
  readonly late: boolean;
  /** The proxy answers, and could not connect to the other end. */
  readonly beyond: boolean;

  constructor(
    proxy: Pick<ProxyServer, "name">,
    what: string,
    { late = false, beyond = false }: { readonly late?: boolean; readonly beyond?: boolean } = {},
  ) {
    super(`the proxy ${proxy.name} ${what}`);
    this.late = late;
    this.beyond = beyond;
  }
}

export interface TunnelOptions {
  /** Milliseconds for all of it. */
  readonly timeout: number;
  /** Whom an https proxy's certificate may be from; Node's default when left out. */
  readonly trust?: SecureContext | undefined;
}

/**
 * A connection on which the other end is `host`. The proxy resolves the name. Rejects with ProxyError, or with the system's
 * error when this machine has no handles, ports or memory.
 */
export async function openTunnel(
  proxy: ProxyServer,
  host: string,
  port: number,
  options: TunnelOptions,
): Promise<Socket> {
  return await inTime(proxy, options, (signal) =>
    proxy.protocol === "socks5"
      ? throughSocks(proxy, bare(host), port, options, signal)
      : throughHttp(proxy, authorityOf(host, port), options, signal),
  );
}

/** A connection to the proxy itself. Rejects as `openTunnel` does. */
export async function connectToProxy(proxy: ProxyServer, options: TunnelOptions): Promise<Socket> {
  return await inTime(proxy, options, (signal) => connected(proxy, options, signal));
}

/** Why a proxy that answered a request by itself refuses it; undefined for an answer of somebody else. */
export function proxyRefusal(
  proxy: ProxyServer,
  status: number,
  headers: Readonly<Record<string, unknown>>,
): ProxyError | undefined {
  // Nobody but a proxy may send 407 (RFC 9110, section 15.5.8).
  if (status === 407) return new ProxyError(proxy, refusalText(status));
  if (status !== 401 && status !== 403) return undefined;
  // By Squid, tinyproxy, and RFC 9209.
  const own =
    headers["x-squid-error"] !== undefined ||
    /^tinyproxy\b/.test(String(headers.server)) ||
    /;\s*error=/.test(String(headers["proxy-status"]));
  return own ? new ProxyError(proxy, refusalText(status)) : undefined;
}

function refusalText(status: number): string {
  // tinyproxy says 401 of a wrong account.
  if (status === 407 || status === 401) return `refuses our account, or wants one (status ${status})`;
  return status === 403 ? "does not let us through (status 403)" : `could not connect (status ${status})`;
}

async function inTime(
  proxy: ProxyServer,
  { timeout }: TunnelOptions,
  open: (signal: AbortSignal) => Promise<Socket>,
): Promise<Socket> {
  const signal = AbortSignal.timeout(timeout);
  try {
    return await open(signal);
  } catch (error) {
    if (error instanceof ProxyError) throw error;
    const { code = "" } = error as NodeJS.ErrnoException;
    if (localTroubles.has(code)) throw error;
    const late = signal.aborted || /TIMEDOUT|TIMEOUT/.test(code);
    if (late) throw new ProxyError(proxy, `did not connect in ${timeout} ms`, { late: true });
    throw new ProxyError(proxy, `could not be reached (${code || "no code"})`);
  }
}

/** Connects to the proxy itself. */
function dial(
  proxy: ProxyServer,
  { timeout, trust }: TunnelOptions,
  callback: buildConnector.Callback,
): void {
  const connect = buildConnector({ timeout, allowH2: false, ...(trust && { secureContext: trust }) });
  const protocol = proxy.protocol === "https" ? "https:" : "http:";
  const hostname = bare(proxy.host);
  const port = String(proxy.port);
  connect({ hostname, host: authorityOf(hostname, port), protocol, port }, callback);
}

async function throughHttp(
  proxy: ProxyServer,
  authority: string,
  options: TunnelOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const client = new Client(originOf(proxy), {
    // The target it gives has the name of the other end for TLS, from the Host header.
    connect: (_target, callback) => dial(proxy, options, callback),
    headersTimeout: 0,
  });
  try {
    const headers = { host: authority, ...proxyAuthorization(proxy) };
    const { statusCode, socket } = await client.connect({ path: authority, headers, signal });
    if (statusCode >= 200 && statusCode < 300) return socket as Socket;
    socket.on("error", () => {}).destroy();
    const beyond = ![401, 403, 407].includes(statusCode);
    throw new ProxyError(proxy, refusalText(statusCode), { beyond });
  } finally {
    // The connection is not the client's any more.
    await client.destroy();
  }
}

async function throughSocks(
  proxy: ProxyServer,
  host: string,
  port: number,
  options: TunnelOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = await connected(proxy, options, signal);
  const end = (): void => void socket.destroy();
  signal.addEventListener("abort", end, { once: true });
  // Loaded only where it is configured.
  const { SocksClient } = await import("socks");
  try {
    await SocksClient.createConnection({
      proxy: {
        host: bare(proxy.host),
        port: proxy.port,
        type: 5,
        ...(proxy.username !== undefined && {
          userId: proxy.username,
          password: proxy.password?.reveal() ?? "",
        }),
      },
      command: "connect",
      destination: { host, port },
      timeout: options.timeout,
      existing_socket: socket,
    });
    return socket;
  } catch (error) {
    // Its errors hold the account.
    if (signal.aborted) throw signal.reason;
    const text = socksText(error as Error);
    throw new ProxyError(proxy, text, { beyond: text.startsWith("could not connect") });
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** In the library's words: `Socks5 proxy rejected connection - NotAllowed`. */
function socksText({ message }: Error): string {
  if (/authentication/i.test(message)) return "refuses our account, or wants one";
  const [, reply] = /rejected connection - (\w+)$/.exec(message) ?? [];
  if (reply === undefined) return "does not answer as a SOCKS5 proxy";
  return reply === "NotAllowed" ? "does not let us through" : `could not connect (${reply})`;
}

function connected(proxy: ProxyServer, options: TunnelOptions, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  dial(proxy, options, (error, socket) => {
    signal.removeEventListener("abort", abort);
    if (error !== null) reject(error);
    else if (signal.aborted) socket.destroy();
    else resolve(socket);
  });
  return promise;
}

function originOf({ protocol, host, port }: ProxyServer): string {
  return `${protocol}://${host}:${port}`;
}
