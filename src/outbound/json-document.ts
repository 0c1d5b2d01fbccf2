// A small document of another server, such as the keys of a token server.
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import type { ProxyConfig } from "../config/config.ts";
import { proxiedAgent } from "./proxied-agent.ts";
import { proxyFor } from "./proxy.ts";

export interface DocumentOptions {
  /** Left out: it is connected to directly. */
  readonly proxy?: ProxyConfig | undefined;
  readonly userAgent: string;
  /** Milliseconds for all of it. */
  readonly timeout: number;
  /** Ends it. */
  readonly signal?: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
  /** It is the answer to a POST with this body: a form, or a text that is JSON. Left out: to a GET. */
  readonly post?: URLSearchParams | string;
  /** The document of an answer 404 is wanted, too. */
  readonly absent?: boolean;
}

/** Largest document, in bytes. */
const largest = 1024 * 1024;

/**
 * The document at an http or https URL, parsed. No redirect is followed. Rejects with why there is none, in words that hold
 * nothing of the URL's query, of what was sent or of what came.
 */
export async function fetchJson(url: URL, options: DocumentOptions): Promise<unknown> {
  const text = await fetchText(url, options);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message would quote it.
    throw new Error(`${placeOf(url)} is no JSON`);
  }
}

/** As `fetchJson`, of a document that is any text. */
export async function fetchText(
  url: URL,
  { proxy, userAgent, timeout, signal, headers, post, absent = false }: DocumentOptions,
): Promise<string> {
  const timedOut = AbortSignal.timeout(timeout);
  const server = proxyFor(proxy, url);
  const agent = server && proxiedAgent(url.protocol, {}, { proxy: server, timeout });
  const options: RequestOptions = {
    agent: agent ?? false,
    headers: {
      accept: "application/json, application/jwk-set+json",
      "user-agent": userAgent,
      ...(post === undefined ? {} : contentHeaders(post)),
      ...headers,
    },
    method: post === undefined ? "GET" : "POST",
    signal: signal === undefined ? timedOut : AbortSignal.any([signal, timedOut]),
  };
  const at = placeOf(url);
  try {
    const answer = await begun(url, options, post?.toString());
    if (answer.statusCode !== 200 && !(absent && answer.statusCode === 404)) {
      answer.destroy();
      throw new Error(`${at} answers ${answer.statusCode}`);
    }
    return await textOf(answer, at);
  } catch (error) {
    const { name, code } = error as NodeJS.ErrnoException;
    if (name === "TimeoutError" || name === "AbortError") throw new Error(`${at} does not answer in time`);
    throw code === undefined ? error : new Error(`${at} cannot be asked (${code})`, { cause: error });
  } finally {
    agent?.destroy();
  }
}

function placeOf(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

function contentHeaders(post: URLSearchParams | string): Record<string, string> {
  const type = typeof post === "string" ? "application/json" : "application/x-www-form-urlencoded";
  return { "content-type": type, "content-length": String(Buffer.byteLength(post.toString())) };
}

function begun(url: URL, options: RequestOptions, body: string | undefined): Promise<IncomingMessage> {
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    request(url, options, resolve).on("error", reject).end(body);
  });
}

async function textOf(answer: IncomingMessage, at: string): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > largest) throw new Error(`${at} is larger than 1 MiB`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
