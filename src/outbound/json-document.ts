// A small JSON document of another server, such as the keys of a token server.
import { get as httpGet, type IncomingMessage, type RequestOptions } from "node:http";
import { get as httpsGet } from "node:https";
import type { ProxyConfig } from "../config/config.ts";
import { proxiedAgent } from "./proxied-agent.ts";
import { proxyFor } from "./proxy.ts";

export interface JsonDocumentOptions {
  /** Left out: it is connected to directly. */
  readonly proxy?: ProxyConfig | undefined;
  readonly userAgent: string;
  /** Milliseconds for all of it. */
  readonly timeout: number;
}

/** Largest document, in bytes. */
const largest = 1024 * 1024;

/**
 * The document at an http or https URL, parsed. No redirect is followed. Rejects with why there is none, in words that hold
 * nothing of the URL's query.
 */
export async function fetchJson(
  url: URL,
  { proxy, userAgent, timeout }: JsonDocumentOptions,
): Promise<unknown> {
  const server = proxyFor(proxy, url);
  const agent = server && proxiedAgent(url.protocol, {}, { proxy: server, timeout });
  const options: RequestOptions = {
    agent: agent ?? false,
    headers: { accept: "application/json, application/jwk-set+json", "user-agent": userAgent },
    signal: AbortSignal.timeout(timeout),
  };
  const at = `${url.origin}${url.pathname}`;
  try {
    const answer = await begun(url, options);
    if (answer.statusCode !== 200) {
      answer.destroy();
      throw new Error(`${at} answers ${answer.statusCode}`);
    }
    return JSON.parse(await textOf(answer, at));
  } catch (error) {
    const { name, code } = error as NodeJS.ErrnoException;
    if (name === "TimeoutError" || name === "AbortError") throw new Error(`${at} does not answer in time`);
    if (error instanceof SyntaxError) throw new Error(`${at} is no JSON`);
    throw code === undefined ? error : new Error(`${at} cannot be asked (${code})`);
  } finally {
    agent?.destroy();
  }
}

function begun(url: URL, options: RequestOptions): Promise<IncomingMessage> {
  const get = url.protocol === "https:" ? httpsGet : httpGet;
  return new Promise((resolve, reject) => {
    get(url, options, resolve).on("error", reject);
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
