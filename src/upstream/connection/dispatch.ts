// One request over undici, with failures as UpstreamErrors.
import type { Dispatcher } from "undici";
import type { ProxyServer } from "../../config/config.ts";
import { proxyAuthorization } from "../../outbound/proxy.ts";
import { ProxyError, proxyRefusal } from "../../outbound/tunnel.ts";
import { currentSpan, type Span } from "../../ports/tracing/span.ts";
import { userAgent } from "../../version.ts";
import { discard } from "../body.ts";
import { asUpstreamError } from "../failure.ts";
import { type KeptConnections, wasKept } from "./kept-connections.ts";

export interface Request extends Omit<Dispatcher.RequestOptions<null>, "headers"> {
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Most times a request is sent: on a kept connection that proves dead, on another one that others had opened anew by
 * then, and on one of its own.
 */
const maxAttempts = 3;

/**
 * The answer's head, with a body that must be read to its end or destroyed. The request goes out with a User-Agent and
 * asks for an answer that is not compressed. A kept connection that is closed or reset
 * before a byte of the answer is no failure: all that idle beside it are dropped, and the request goes out again.
 * Rejects with UpstreamError, or with the signal's reason. `upstream` is for messages, which `label` words otherwise.
 * `continuesTrace`: whether who is asked is told what trace the request belongs to, if it is traced.
 */
export async function dispatch(
  connections: KeptConnections,
  request: Request,
  upstream: string,
  continuesTrace = false,
  label = upstream,
): Promise<Dispatcher.ResponseData<null>> {
  const span = currentSpan()?.child(request.method, attributesOf(request, upstream), "client");
  if (span === undefined) return await send(connections, request, label);
  const { traceparent } = span;
  const traced = continuesTrace ? { ...request, headers: { ...request.headers, traceparent } } : request;
  try {
    const answer = await send(connections, traced, label);
    endWith(span, answer);
    return answer;
  } catch (error) {
    span.end(error);
    throw error;
  }
}

/** Of the OpenTelemetry conventions for HTTP clients; the query may be a signature, and is left out. */
function attributesOf({ method, origin, path }: Request, upstream: string) {
  // Not as a path below the origin: two slashes at its beginning would be a host.
  const { protocol, host, hostname, port, pathname } = new URL(`${origin}${path}`);
  return {
    "http.request.method": method,
    "url.full": `${protocol}//${host}${pathname}`,
    "server.address": hostname,
    "server.port": Number(port) || (protocol === "https:" ? 443 : 80),
    "entrepot.upstream": upstream,
  };
}

/** Ends the span with the body. 401 and 404 are everyday answers, and no failures. */
function endWith(span: Span, { statusCode, body }: Dispatcher.ResponseData<null>): void {
  span.set({ "http.response.status_code": statusCode });
  const failed = statusCode >= 400 && statusCode !== 401 && statusCode !== 404;
  const end = (): void =>
    span.end(failed ? Object.assign(new Error(), { code: statusCode }) : (body.errored ?? undefined));
  body.once("close", end);
  if (body.closed) end();
}

async function send(
  connections: KeptConnections,
  request: Request,
  upstream: string,
): Promise<Dispatcher.ResponseData<null>> {
  const signal = request.signal as AbortSignal | null | undefined;
  const proxy = connections.forwarding(String(request.origin));
  const sent = proxy === undefined ? request : forwarded(request, proxy);
  const headers = { ...sent.headers, "accept-encoding": "identity", "user-agent": userAgent };
  // A ProxyError says which proxy by itself.
  const label = (error: unknown) =>
    proxy === undefined || error instanceof ProxyError
      ? upstream
      : `${upstream} through the proxy ${proxy.name}`;
  for (let attempt = 1; ; attempt++) {
    const { current } = connections;
    try {
      const answer = await current.request({ ...sent, headers });
      // A body that breaks before anybody listens to it must not end the process.
      answer.body.on("error", () => {});
      const refused = proxy && proxyRefusal(proxy, answer.statusCode, answer.headers);
      if (refused === undefined) return answer;
      discard(answer.body);
      throw refused;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (attempt === maxAttempts || !wasKept(error)) throw asUpstreamError(error, "head", label(error));
      connections.replace(current);
    }
  }
}

/** The request as a proxy is sent it: absolute-form (RFC 9112, section 3.2.2), with our account there. */
export function forwarded<R extends Pick<Request, "origin" | "path" | "headers">>(
  request: R,
  proxy: ProxyServer,
): R {
  const headers = { ...request.headers, ...proxyAuthorization(proxy) };
  return { ...request, path: `${request.origin}${request.path}`, headers };
}
