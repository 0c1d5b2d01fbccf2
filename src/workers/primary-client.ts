// How a worker asks its primary: the client's request over a unix socket, with the client's address beside it.
import { Agent, request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import type { Exchange } from "../http/exchange.ts";
import { namedByConnection } from "../http/push/forwarded-headers.ts";
import {
  basePathHeader,
  certificateHeader,
  clientHeader,
  oldHttpHeader,
  originHeader,
  takesGrantHeader,
} from "../ports/grant.ts";
import { passedHeaders } from "./passed-headers.ts";

/** Idle connections to the primary that are kept. */
const maxIdle = 256;
/** Headers that are about one connection (RFC 9110, section 7.6.1), and those that only a worker may send. */
const ownHeaders = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  // Trailers are not passed on.
  "trailer",
  "upgrade",
  takesGrantHeader,
  clientHeader,
  basePathHeader,
  certificateHeader,
  originHeader,
  oldHttpHeader,
]);
/** A read needs none of its body. */
const bodyHeaders = new Set(["content-length", "transfer-encoding", "expect"]);
/**
 * Milliseconds after its client has left in which a question that may be granted is still waited for: a hit is granted at
 * once, and then this process makes the event.
 */
const patience = 1_000;

export interface AskOptions {
  readonly takesGrant: boolean;
  /** Whether the body of the request is passed on. */
  readonly withBody: boolean;
}

export class PrimaryClient {
  readonly #path: string;
  readonly #agent = new Agent({ keepAlive: true, maxFreeSockets: maxIdle });

  /** `path`: that of the unix socket. */
  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Asks what the client asks, and passes its body on as it comes. Resolves with the head of the answer, whose body the
   * caller reads or destroys. Rejects when the primary does not answer. When the client leaves the primary is told, by
   * the end of the connection; a second later while a grant may be on its way, since then nobody would make the event.
   */
  ask(exchange: Exchange, { takesGrant, withBody }: AskOptions): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const { request } = exchange;
    const headers = headersOf(exchange, takesGrant, withBody);
    const asked = httpRequest({
      socketPath: this.#path,
      agent: this.#agent,
      method: request.method,
      path: request.url,
      headers,
      setHost: false,
    });
    const leave = (): void => void asked.destroy();
    let late: NodeJS.Timeout | undefined;
    const off = exchange.onOver(() => {
      if (takesGrant) late = setTimeout(leave, patience).unref();
      else leave();
    });
    asked.on("close", () => {
      off();
      clearTimeout(late);
    });
    asked.on("error", reject);
    asked.on("response", (answer) => {
      clearTimeout(late);
      stopBody();
      // The primary has refused a body that has not all come: what it would still read is not sent.
      if (!asked.writableEnded) answer.once("end", leave);
      resolve(answer);
    });
    const passes = withBody && exchange.hasBody;
    const stopBody = passes ? passBodyOn(exchange, asked) : () => {};
    if (!passes) asked.end();
    return promise;
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** The client's headers, and what the primary has to know besides. */
function headersOf(exchange: Exchange, takesGrant: boolean, withBody: boolean): OutgoingHttpHeaders {
  const { rawHeaders, headers: sent, httpVersion } = exchange.request;
  const named = namedByConnection(sent.connection);
  const headers = passedHeaders(
    rawHeaders,
    (name) => ownHeaders.has(name) || named.has(name) || (!withBody && bodyHeaders.has(name)),
  );
  headers["x-request-id"] = exchange.id;
  if (exchange.span !== undefined) headers.traceparent = exchange.span.traceparent;
  headers[clientHeader] = exchange.client.address;
  const { basePath, origin } = exchange;
  if (basePath !== "") headers[basePathHeader] = basePath;
  if (origin !== undefined) headers[originHeader] = origin;
  if (exchange.certified !== undefined) headers[certificateHeader] = exchange.certified.key;
  if (takesGrant) headers[takesGrantHeader] = "1";
  if (httpVersion !== "1.1") headers[oldHttpHeader] = "1";
  return headers;
}

/** Passes the request's body on, not faster than the primary takes it. The function returned ends that. */
function passBodyOn(exchange: Exchange, asked: ReturnType<typeof httpRequest>): () => void {
  const { request } = exchange;
  const take = (chunk: Buffer): void => {
    try {
      if (!asked.write(chunk)) request.pause();
    } catch (error) {
      // Node refuses what it cannot send in this form: the question ends, not the process.
      asked.destroy(error instanceof Error ? error : undefined);
    }
  };
  const goOn = (): void => void request.resume();
  const end = (): void => void asked.end();
  const begin = (): void => {
    exchange.proceed();
    asked.on("drain", goOn);
    request.on("data", take).on("end", end);
  };
  if (request.headers.expect === undefined) begin();
  else {
    asked.on("continue", begin);
    asked.flushHeaders();
  }
  return () => {
    asked.off("drain", goOn).off("continue", begin);
    request.off("data", take).off("end", end);
  };
}
