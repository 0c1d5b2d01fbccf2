// The way to a registry, one hop after the other, each as the mirror itself goes it: the proxy, the name, the connection, TLS.
import { lookup } from "node:dns/promises";
import type { IncomingHttpHeaders } from "node:http";
import { isIP, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { buildConnector } from "undici";
import type { ProxyServer, UpstreamConfig } from "../config/config.ts";
import { apiPath } from "../oci/api-url.ts";
import { bare, forwardingProxy, proxyFor } from "../outbound/proxy.ts";
import { connectToProxy, openTunnel, ProxyError } from "../outbound/tunnel.ts";
import { makePseudonym, viaOf } from "../ports/via.ts";
import { readSmallBody } from "../upstream/body.ts";
import { connectOptions } from "../upstream/connection/connection-options.ts";
import type { Connections } from "../upstream/connection/connections.ts";
import { dispatch } from "../upstream/connection/dispatch.ts";
import { ownConnector } from "../upstream/connection/proxied-connector.ts";
import { asUpstreamError, tlsTrouble } from "../upstream/failure.ts";
import { failed, ok, type Part, skipped, warning } from "./examination.ts";

/** Bytes of an answer to `/v2/` that are looked at. */
const longestAnswer = 64 * 1024;
/** Milliseconds before its end in which a certificate is warned of. */
const expiresSoon = 14 * 86_400_000;

/** The answer to `/v2/` without an account. */
export interface FirstAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** When it came, in Unix milliseconds. */
  readonly at: number;
}

/** Asks once, however often it is called. Rejects with UpstreamError, or the signal's reason. */
export type AskFirst = (signal: AbortSignal) => Promise<FirstAnswer>;

export function askFirst(config: UpstreamConfig, connections: Connections): AskFirst {
  let asked: Promise<FirstAnswer> | undefined;
  return (signal) => {
    asked ??= ask(config, connections, signal);
    return asked;
  };
}

async function ask(
  { name, url }: UpstreamConfig,
  connections: Connections,
  signal: AbortSignal,
): Promise<FirstAnswer> {
  const headers = { via: viaOf(makePseudonym()) };
  const request = { origin: url.origin, path: apiPath(url), method: "GET", headers, signal } as const;
  const reply = await dispatch(connections.own, request, name);
  const at = Date.now();
  const limits = { upstream: name, limit: longestAnswer, timeout: 5_000 };
  const body = await readSmallBody(reply.body, limits).catch(() => undefined);
  const text = body?.toString("utf8") ?? "";
  return { status: reply.statusCode, headers: reply.headers as IncomingHttpHeaders, text, at };
}

/** From the proxy to TLS. */
export async function examineHops(part: Part, config: UpstreamConfig, first: AskFirst): Promise<void> {
  const proxy = proxyFor(config.proxy, config.url);
  const beyond = await part.check<ProxyError | "reached">("proxy", (signal) =>
    checkProxy(config, proxy, first, signal),
  );
  await part.check("dns", async () => {
    if (proxy !== undefined) return skipped("the proxy looks the name up");
    return await checkName(bare(config.url.hostname));
  });
  await part.check("connect", async () => {
    if (beyond !== undefined && beyond !== "reached")
      return failed(
        beyond.message,
        "Check the host and port of url, and that the proxy may and can reach them.",
      );
    return proxy === undefined ? await checkConnection(config) : ok("through the proxy");
  });
  await part.check("tls", (signal) => checkTls(config, first, signal));
}

async function checkProxy(
  config: UpstreamConfig,
  proxy: ProxyServer | undefined,
  first: AskFirst,
  signal: AbortSignal,
) {
  if (proxy === undefined)
    return skipped(
      config.proxy === undefined
        ? "none is set (HTTPS_PROXY, HTTP_PROXY, proxy): it is connected to directly"
        : "not used for this host (noProxy, no_proxy, or the scheme): it is connected to directly",
    );
  const options = { timeout: config.connectTimeout, trust: connectOptions(config).foreign.secureContext };
  const { url } = config;
  try {
    if (forwardingProxy(config.proxy, url) === undefined) {
      const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
      (await openTunnel(proxy, url.hostname, port, options)).destroy();
    } else {
      (await connectToProxy(proxy, options)).destroy();
      await first(signal);
    }
    return ok(`${proxy.name} lets us through`, "reached" as const);
  } catch (error) {
    const refused = error instanceof ProxyError ? error : (error as Error).cause;
    // What else is wrong with the answer is told where it belongs.
    if (!(refused instanceof ProxyError)) return ok(`${proxy.name} is there`, "reached" as const);
    if (refused.beyond) return ok(`${proxy.name} is there`, refused);
    return failed(refused.message, proxyFix(refused));
  }
}

function proxyFix({ message }: ProxyError): string {
  if (/account/.test(message))
    return "Correct the account in the proxy's URL (HTTPS_PROXY, HTTP_PROXY, or proxy in the configuration).";
  if (/let us through/.test(message))
    return "Have the proxy allow this host, or name the host in noProxy if it is reached directly.";
  return "Correct the proxy's address (HTTPS_PROXY, HTTP_PROXY, or proxy), or name the host in noProxy.";
}

async function checkName(host: string) {
  if (isIP(host) !== 0) return skipped("url has an address");
  try {
    const found = await lookup(host, { all: true });
    return ok(`${host} is ${found.map(({ address }) => address).join(", ")}`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "EAI_AGAIN"
      ? failed(
          `the name server does not answer for ${host} (${code})`,
          "Check the name servers of this machine (/etc/resolv.conf) and the way to them.",
        )
      : failed(`there is no host ${host} (${code})`, "Correct the host in url, or add the name to the DNS.");
  }
}

async function checkConnection({ url, connectTimeout, name }: UpstreamConfig) {
  const began = performance.now();
  const connect = buildConnector({ timeout: connectTimeout, allowH2: false });
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  try {
    const socket = await connected(connect, { ...targetOf(url, port), protocol: "http:" });
    const { remoteAddress } = socket;
    socket.destroy();
    return ok(`${remoteAddress} port ${port}, in ${Math.round(performance.now() - began)} ms`);
  } catch (error) {
    const { message } = asUpstreamError(error, "head", name);
    const { code = "" } = error as NodeJS.ErrnoException;
    return failed(`port ${port}: ${withoutName(message, name)}`, connectFix(code));
  }
}

function connectFix(code: string): string {
  if (code === "ECONNREFUSED") return "Check the port in url, and whether the registry runs.";
  if (/UNREACH|ENETDOWN/.test(code)) return "Check the routes of this machine to that network.";
  if (/TIMEOUT|TIMEDOUT/.test(code))
    return "Check the firewalls in between, and whether a proxy has to be set (HTTPS_PROXY or proxy).";
  return "Check the host and port in url.";
}

async function checkTls(config: UpstreamConfig, first: AskFirst, signal: AbortSignal) {
  const { url, name, tls } = config;
  if (url.protocol !== "https:") return skipped("url is plain http");
  let seen: string;
  let left: number;
  let expiry: string;
  try {
    const socket = await connected(
      ownConnector(config, connectOptions(config)),
      targetOf(url, url.port || "443"),
    );
    if (!(socket instanceof TLSSocket)) throw new TypeError("the connection has no TLS");
    const { valid_to: validTo, subject } = socket.getPeerCertificate();
    seen = `${socket.getProtocol()}, certificate of ${subject?.CN ?? url.hostname}`;
    socket.destroy();
    left = Date.parse(validTo) - Date.now();
    expiry = Number.isNaN(left) ? "an unknown day" : new Date(Date.parse(validTo)).toISOString();
  } catch (error) {
    const { message } = asUpstreamError(error, "head", name);
    return failed(withoutName(message, name), tlsFix((error as NodeJS.ErrnoException).code ?? ""));
  }
  // A server says with TLS 1.3 only after the handshake that it wants a certificate of the client.
  const answer = await first(signal).catch((error: Error) => error);
  if (answer instanceof Error) {
    const code = String((answer.cause as { code?: unknown } | undefined)?.code ?? "");
    if (tlsTrouble(code) !== undefined) return failed(withoutName(answer.message, name), tlsFix(code));
    if (/ECONNRESET|EPIPE|UND_ERR_SOCKET/.test(code) && tls?.cert === undefined)
      return failed(
        "it closes the connection right after the handshake, as servers do that want a client certificate",
        wantsCertificate,
      );
  } else if (answer.status >= 400 && /SSL certificate/i.test(answer.text))
    return failed(`it refuses our TLS certificate, or wants one (status ${answer.status})`, wantsCertificate);
  if (left < expiresSoon)
    return warning(`${seen}, which ends on ${expiry}`, "Have the registry's certificate renewed.");
  return ok(`${seen}, good until ${expiry}`);
}

const wantsCertificate = "Set tls.cert and tls.key of the upstream to a certificate the registry accepts.";

function tlsFix(code: string): string {
  if (code === "CERT_HAS_EXPIRED")
    return "Have the registry's certificate renewed; if it is good, set the clock of this machine right.";
  if (/ALERT_/.test(code)) return wantsCertificate;
  if (/WRONG_VERSION|PACKET_LENGTH|EPROTO|HTTP_REQUEST/.test(code))
    return "If the registry speaks plain http on that port, write http:// in url; else correct the port.";
  const { fix } = tlsTrouble(code) ?? {};
  return fix === undefined ? "Check that a registry speaks TLS on that port." : sentence(fix);
}

export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** The part has said which upstream is meant. */
export function withoutName(message: string, name: string): string {
  const prefix = `upstream ${name}`;
  return message.startsWith(prefix) ? message.slice(prefix.length).replace(/^[:,]?\s*/, "") : message;
}

function targetOf(url: URL, port: string): buildConnector.Options {
  return { hostname: bare(url.hostname), host: url.host, protocol: url.protocol, port };
}

function connected(connect: buildConnector.connector, target: buildConnector.Options): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  connect(target, (error, socket) => (error === null ? resolve(socket) : reject(error)));
  return promise;
}
