// Whether the registry is where the configuration says, and takes our account: the version check that every registry
// answers (distribution-spec, "Determining Support"), and the likely mistake when it does not.
import type { IncomingHttpHeaders } from "node:http";
import type { UpstreamConfig } from "../config/config.ts";
import { apiPath } from "../oci/api-url.ts";
import { orAborted } from "../ports/deadline.ts";
import type { UpstreamTrouble } from "../ports/event.ts";
import { UpstreamError } from "../ports/upstream.ts";
import { makePseudonym, viaOf } from "../ports/via.ts";
import { isWebPage, wordsOf } from "./answer.ts";
import { createAuthorizer } from "./auth/authorization.ts";
import { challengeFields, challengeOf, parseChallenges } from "./auth/challenge.ts";
import { TokenRefused } from "./auth/token-server.ts";
import { readSmallBody } from "./body.ts";
import { Connections } from "./connection/connections.ts";
import { dispatch } from "./connection/dispatch.ts";
import { isRedirect, isUpgrade, maxRedirects, redirectTarget } from "./redirect.ts";

/** Milliseconds for one answer, and for everything that is asked. */
const answerTimeout = 10_000;
const checkTimeout = 30_000;
/** Bytes of an answer that are looked at. Those of registries have two. */
const longestAnswer = 64 * 1024;

interface Answer {
  readonly url: URL;
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/**
 * What is wrong, with the likely fix; undefined when the registry answers as one that takes our account. Asks for half a
 * minute at most, and follows redirects under the rules of all others. Rejects with the signal's reason only.
 */
export async function checkVersion(
  config: UpstreamConfig,
  signal?: AbortSignal,
): Promise<UpstreamTrouble | undefined> {
  const timeout = AbortSignal.timeout(checkTimeout);
  const all = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const { name } = config;
  try {
    const answer = await askAsConfigured(config, all);
    const { status } = answer;
    if (isRegistry(answer)) return undefined;
    const at = `upstream ${name}: ${describe(answer.url)}`;
    if (status === 429) return { code: "rate_limited", message: `${at} asks to slow down (status 429)` };
    if (status >= 500) return { code: "server_error", message: `${at} fails (status ${status})` };
    const what = isWebPage(answer.headers) ? "a web page" : `status ${status}`;
    const message = `${at} is not answered by a registry (${what})${await hint(config, answer, all)}`;
    return { code: "no_registry", message };
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (timeout.aborted)
      return { code: "timeout", message: `upstream ${name} did not answer within ${checkTimeout / 1000} s` };
    if (!(error instanceof UpstreamError)) throw error;
    // Who answers and refuses us is the right one.
    const isThere = error.code !== "unreachable" && error.code !== "protocol";
    const fix = isThere ? "" : await hint(config, undefined, all).catch(() => "");
    const words = error instanceof TokenRefused ? said(error.body.toString("utf8")) : "";
    return { code: error.code, message: `${error.message}${words}${fix}` };
  }
}

/** `/v2/` as every other question is asked: with our account, as upstream wants to be told of it. */
async function askAsConfigured(config: UpstreamConfig, signal: AbortSignal): Promise<Answer> {
  const authorizer = createAuthorizer(config, () => {}, Date.now);
  const asker = new Asker(config, signal);
  try {
    let sent = await orAborted(authorizer.header({}), signal);
    let answer = await asker.ask(sent);
    const wantsAccount = config.auth.kind !== "none" && answer.status === 401;
    if (
      wantsAccount &&
      (await orAborted(authorizer.refused({}, challengeFields(answer.headers), sent), signal))
    ) {
      sent = await orAborted(authorizer.header({}), signal);
      answer = await asker.ask(sent);
    }
    // Whoever has no account is asked for one by most registries: what anonymous clients may have shows with content only. A
    // token that does not suffice is the proof of an account.
    const error = challengeOf(parseChallenges(challengeFields(answer.headers)), "bearer")?.parameters.get(
      "error",
    );
    const refused = answer.status === 401 && error !== "insufficient_scope";
    const barred = answer.status === 403 && saysLocked(wordsOf(answer.body)?.message ?? "");
    if (config.auth.kind !== "none" && (refused || barred))
      throw new UpstreamError("auth", refusalText(config.name, answer));
    return answer;
  } finally {
    await Promise.all([authorizer.close(), asker.close()]);
  }
}

/**
 * Whether a registry's words mean that the account is locked: Artifactory's are "Blocked due to recurrent login failures". It
 * refuses the right password, too.
 */
export function saysLocked(text: string): boolean {
  return /\b(?:locked|blocked|disabled|suspended)\b|too many (?:failed|attempts|login)/i.test(text);
}

function refusalText(name: string, { status, body }: Answer): string {
  return `upstream ${name} refused our account: check its username and password (status ${status})${said(body)}`;
}

/** The registry's own words where they say more than the status does; else "". */
function said(body: string): string {
  const { message } = wordsOf(body) ?? {};
  return message !== undefined && saysLocked(message) ? `; it says: ${message}` : "";
}

/** Asks one registry for `/v2/`. */
class Asker {
  readonly #config: UpstreamConfig;
  readonly #signal: AbortSignal;
  readonly #connections: Connections;
  readonly #headers = { via: viaOf(makePseudonym()) };

  constructor(config: UpstreamConfig, signal: AbortSignal) {
    this.#config = config;
    this.#signal = signal;
    this.#connections = new Connections(config, makePseudonym());
  }

  /** Rejects with UpstreamError, or the signal's reason. */
  async ask(authorization?: string): Promise<Answer> {
    const { name, url: base } = this.#config;
    let url = new URL(base);
    url.pathname = apiPath(base);
    for (let followed = 0; ; followed++) {
      const own = url.origin === base.origin;
      const answer = await this.#send(url, own ? authorization : undefined);
      const { location } = answer.headers;
      if (!isRedirect(answer.status) || followed === maxRedirects || isMovedToHttps(answer)) return answer;
      url = redirectTarget(url, location, { upstream: name, otherOrigins: true });
    }
  }

  async #send(url: URL, authorization: string | undefined): Promise<Answer> {
    const { name, url: base, idleTimeout } = this.#config;
    const connections = url.origin === base.origin ? this.#connections.own : this.#connections.foreign;
    const headers = { ...this.#headers, ...(authorization === undefined ? {} : { authorization }) };
    const { origin } = url;
    const path = url.pathname + url.search;
    const request = { origin, path, method: "GET", headers, headersTimeout: answerTimeout } as const;
    const reply = await dispatch(connections, { ...request, signal: this.#signal }, name);
    const limits = { upstream: name, limit: longestAnswer, timeout: Math.min(idleTimeout, answerTimeout) };
    const body = await readSmallBody(reply.body, limits).catch(() => undefined);
    return {
      url,
      status: reply.statusCode,
      headers: reply.headers as IncomingHttpHeaders,
      body: body?.toString("utf8") ?? "",
    };
  }

  close(): Promise<void> {
    return this.#connections.close();
  }
}

/** A registry's answer to who is let in, and to who has to prove an account. */
function isRegistry({ status, headers, body }: Answer): boolean {
  if (isWebPage(headers) || /^\s*</.test(body)) return false;
  if (headers["docker-distribution-api-version"] !== undefined) return status < 500;
  return status === 200 || status === 401;
}

/** What to change, as the end of a sentence; "" when nothing is found that would be right. */
async function hint(
  config: UpstreamConfig,
  answer: Answer | undefined,
  signal: AbortSignal,
): Promise<string> {
  if (answer !== undefined && isMovedToHttps(answer))
    return `: set its url to ${describe(httpsOf(config.url))}`;
  for (const url of otherUrls(config.url)) {
    const found = await answersAt({ ...config, url, auth: { kind: "none" } }, signal);
    if (found) return `; a registry is at ${describe(url)}: set its url to that`;
  }
  const server = `${answer?.headers.server ?? ""} ${answer?.headers["x-jfrog-version"] ?? ""}`;
  const { origin } = config.url;
  if (/artifactory/i.test(server))
    return `, but by Artifactory: set its url to ${origin}/artifactory/api/docker/REPOSITORY`;
  return /^nexus/i.test(server) ? `, but by Nexus: set its url to ${origin}/repository/REPOSITORY` : "";
}

/** The likely ones: with the other scheme, and without the path. */
function otherUrls(url: URL): URL[] {
  const otherScheme = url.protocol === "http:" ? httpsOf(url) : new URL(url.href.replace(/^https:/, "http:"));
  const root = new URL("/", url);
  return url.pathname === "/" ? [otherScheme] : [root, otherScheme];
}

/** On the same port, if one is named. */
function httpsOf(url: URL): URL {
  return new URL(url.href.replace(/^http:/, "https:"));
}

/** Without our account. A server whose certificate is not trusted is there, too. */
async function answersAt(config: UpstreamConfig, signal: AbortSignal): Promise<boolean> {
  const asker = new Asker(config, signal);
  try {
    return isRegistry(await asker.ask());
  } catch (error) {
    const code = String(((error as Error).cause as { code?: unknown } | undefined)?.code);
    return config.url.protocol === "https:" && /CERT|SIGNATURE/.test(code);
  } finally {
    await asker.close();
  }
}

/** Whether plain http is there only to send clients to https of the same host. */
function isMovedToHttps({ url, status, headers }: Answer): boolean {
  const target = isRedirect(status) ? URL.parse(headers.location ?? "", url.href) : null;
  return target !== null && isUpgrade(url, target);
}

/** Without the slash of a path that is none. */
function describe(url: URL): string {
  return url.pathname === "/" ? url.origin : url.href;
}
