// Asking a token server for an access token: by GET ("Token Authentication Specification" of CNCF Distribution), or
// by POST ("Oauth2 Token Authentication", RFC 6749) where GET is not served or the secret is an identity token.
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import type { UpstreamConfig } from "../../config/config.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../ports/upstream.ts";
import { readRetryAfter } from "../answer.ts";
import { discard, readSmallBody, smallBodyTimeout } from "../body.ts";
import { dispatch } from "../connection/dispatch.ts";
import type { KeptConnections } from "../connection/kept-connections.ts";
import { isRedirect, maxRedirects, redirectTarget } from "../redirect.ts";
import { type AccountVerdict, mayRefuseAccount } from "./account-checks.ts";
import { AccountRefused } from "./authorizer.ts";
import type { Credentials } from "./credentials.ts";
import { AccessToken, type TokenTarget } from "./token-cache.ts";

/** Largest answer read, in bytes. */
const maxAnswerBytes = 64 * 1024;
/** The name of this client, in POST requests. */
const clientId = "entrepot";

export interface TokenServerOptions {
  readonly config: UpstreamConfig;
  readonly connections: KeptConnections;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

/** The answer is no: to the account (RFC 6749, section 5.2, refuses credentials with 400), or to what it asks for. */
export class TokenRefused extends AccountRefused {
  /** Of the answer; empty when it was too long or broke off. */
  readonly body: Buffer;

  constructor(label: string, account: Credentials | undefined, status: number, body: Buffer | undefined) {
    const text = account === undefined ? "wants an account" : "refused our account";
    super(`upstream ${label} ${text} (status ${status})`, { status });
    this.name = "TokenRefused";
    this.body = body ?? Buffer.alloc(0);
  }
}

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readable;
}

/** The caller has checked the realm (token-realm.ts): credentials are sent to it, and nowhere else. */
export class TokenServer {
  readonly #options: TokenServerOptions;
  /** The realm that last turned out to serve nothing but POST. */
  #postRealm: string | undefined;

  constructor(options: TokenServerOptions) {
    this.#options = options;
  }

  /**
   * A new token. Rejects with UpstreamError: `auth` when the account is refused, the codes of upstream's own
   * failures otherwise. The waits are bounded by upstream's time-outs.
   */
  async token(target: TokenTarget, account: Credentials | undefined): Promise<AccessToken> {
    const { href } = target.realm;
    if (account === undefined) return await this.#read(target, account, await this.#get(target, account));
    if (!account.isIdentityToken && this.#postRealm !== href) {
      const reply = await this.#get(target, account);
      if (reply.status !== 404 && reply.status !== 405) return await this.#read(target, account, reply);
      discard(reply.body);
    }
    this.#postRealm = undefined;
    const token = await this.#read(target, account, await this.#post(target, account));
    if (!account.isIdentityToken) this.#postRealm = href;
    return token;
  }

  /**
   * Whether the account is accepted, whatever it may read: a token for no scope is asked for, as `docker login` does.
   * Rejects with UpstreamError when the token server says neither.
   */
  async verdict(target: TokenTarget, account: Credentials | undefined): Promise<AccountVerdict> {
    try {
      await this.token({ ...target, scope: "" }, account);
      return "accepted";
    } catch (error) {
      if (error instanceof TokenRefused) return "refused";
      throw error;
    }
  }

  async #get(target: TokenTarget, account: Credentials | undefined): Promise<Reply> {
    const label = this.#label(target);
    let url = new URL(target.realm);
    if (target.service !== undefined) url.searchParams.append("service", target.service);
    for (const scope of target.scope.split(" ").filter((each) => each !== ""))
      url.searchParams.append("scope", scope);
    const headers = account === undefined ? {} : { authorization: account.basic };
    for (let followed = 0; ; followed++) {
      const reply = await this.#send(label, url, { method: "GET", headers });
      if (!isRedirect(reply.status)) return reply;
      discard(reply.body);
      if (followed === maxRedirects) throw failure("protocol", label, "redirected too often", reply.status);
      url = redirectTarget(url, reply.headers.location, { upstream: label, otherOrigins: false });
    }
  }

  async #post(target: TokenTarget, account: Credentials): Promise<Reply> {
    const form = new URLSearchParams({ client_id: clientId });
    if (target.scope !== "") form.set("scope", target.scope);
    if (target.service !== undefined) form.set("service", target.service);
    if (account.isIdentityToken) {
      form.set("grant_type", "refresh_token");
      form.set("refresh_token", account.reveal());
    } else {
      form.set("grant_type", "password");
      form.set("username", account.username);
      form.set("password", account.reveal());
    }
    return await this.#send(this.#label(target), target.realm, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: form.toString(),
    });
  }

  async #send(
    label: string,
    url: URL,
    request: { method: "GET" | "POST"; headers: Record<string, string>; body?: string },
  ): Promise<Reply> {
    const { config, connections, notices, clock } = this.#options;
    const started = clock();
    const {
      statusCode: status,
      headers,
      body,
    } = await dispatch(
      connections,
      {
        ...request,
        origin: url.origin,
        path: url.pathname + url.search,
        headers: { ...request.headers, accept: "application/json" },
      },
      label,
    );
    const { method } = request;
    const ttfbMs = clock() - started;
    notices({ kind: "upstream_request", upstream: config.name, type: "token", method, status, ttfbMs });
    return { status, headers: headers as IncomingHttpHeaders, body };
  }

  async #read(target: TokenTarget, account: Credentials | undefined, reply: Reply): Promise<AccessToken> {
    const { config, notices, clock } = this.#options;
    const label = this.#label(target);
    const limits = {
      upstream: label,
      limit: maxAnswerBytes,
      timeout: smallBodyTimeout(config.idleTimeout),
    };
    if (mayRefuseAccount(reply.status)) {
      // A body that broke off says nothing; the status does.
      const words = await readSmallBody(reply.body, limits).catch(() => undefined);
      throw new TokenRefused(label, account, reply.status, words);
    }
    if (reply.status !== 200) {
      discard(reply.body);
      throw this.#failureOf(label, reply);
    }
    const body = await readSmallBody(reply.body, limits);
    if (body === undefined) {
      throw failure("too_large", label, `sent more than ${maxAnswerBytes} bytes`, reply.status);
    }
    notices({ kind: "upstream_bytes", upstream: config.name, type: "token", bytes: body.length });
    const token = readTokenAnswer(body, reply.headers.date, clock());
    if (token === undefined) throw failure("protocol", label, "sent no token in JSON", reply.status);
    return token;
  }

  #failureOf(label: string, { status, headers }: Reply): UpstreamError {
    if (status === 429) {
      const retryAfter = readRetryAfter(headers["retry-after"], this.#options.clock());
      return failure("rate_limited", label, "asks to slow down", status, retryAfter);
    }
    if (status >= 500) return failure("server_error", label, "failed", status);
    return failure("protocol", label, "gave an answer that is not understood", status);
  }

  /** Names the token server in messages. */
  #label({ realm }: TokenTarget): string {
    return `${this.#options.config.name}: its token server ${realm.host}`;
  }
}

function failure(
  code: UpstreamErrorCode,
  label: string,
  text: string,
  status: number,
  retryAfter?: number | undefined,
): UpstreamError {
  return new UpstreamError(code, `upstream ${label} ${text} (status ${status})`, { status, retryAfter });
}

/** Seconds a token lives at least, and when the answer does not say. */
const shortestLife = 60;
/** A token is not used in the last part of its life: the smaller of a tenth and these milliseconds. */
const margin = 30_000;
/** What a header can carry without quoting. */
const usableToken = /^[\x21-\x7e]{1,32768}$/;

/**
 * The token in a token server's answer: `token` or `access_token`, good for `expires_in` seconds from `issued_at`.
 * `date` is the answer's Date header: the age of a token on arrival is the difference between two times of the server's
 * clock, so that no token looks expired because that clock or ours is wrong. Undefined for an answer without a usable
 * token.
 */
export function readTokenAnswer(
  body: Buffer,
  date: string | undefined,
  now: number,
): AccessToken | undefined {
  const answer = parseObject(body);
  const text = [answer?.token, answer?.access_token].find((each) => typeof each === "string" && each !== "");
  if (answer === undefined || typeof text !== "string" || !usableToken.test(text)) return undefined;
  const life = Math.max(shortestLife, secondsOf(answer.expires_in)) * 1000;
  const age = Date.parse(date ?? "") - dateOf(answer.issued_at);
  const left = age > 0 && age < life ? life - age : life;
  return new AccessToken(text, now, now + left - Math.min(margin, left / 10));
}

function parseObject(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** 0 for anything but a number of seconds. */
function secondsOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** Milliseconds of an RFC 3339 time; NaN for anything else. */
function dateOf(value: unknown): number {
  return typeof value === "string" && /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d/.test(value)
    ? Date.parse(value)
    : NaN;
}
