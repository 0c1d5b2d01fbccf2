// Asks one upstream: time-outs, credentials, redirects, limits. Everything the registry is asked goes out here, except
// questions about credentials, which have connections of their own (auth/authorization.ts).
import type { IncomingHttpHeaders } from "node:http";
import { Readable } from "node:stream";
import type { UpstreamConfig } from "../config/config.ts";
import { apiPath, apiUrl } from "../oci/api-url.ts";
import { parseRepository, type Repository } from "../oci/name.ts";
import type { CallerCredentials } from "../ports/caller-credentials.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { orAborted } from "../ports/deadline.ts";
import type { NoticeSink } from "../ports/event.ts";
import { UpstreamError, type Yielding } from "../ports/upstream.ts";
import type { Refusal } from "../ports/upstream-answer.ts";
import { viaOf } from "../ports/via.ts";
import { type ReplyHead, readStatus, type Sender, withWords } from "./answer.ts";
import { mayRefuseAccount } from "./auth/account-checks.ts";
import { type Authorizer, NobodyAsks, RepositoryRefused } from "./auth/authorizer.ts";
import type { CallerAuthorizers } from "./auth/caller-authorizers.ts";
import { challengeFields } from "./auth/challenge.ts";
import { discard, readSmallBody } from "./body.ts";
import { ConnectionGate, type Use } from "./connection/connection-gate.ts";
import { Connections } from "./connection/connections.ts";
import { dispatch, type Request } from "./connection/dispatch.ts";
import { type LimitedKind, RateLimits } from "./connection/rate-limits.ts";
import { UpstreamCircuit } from "./connection/upstream-circuit.ts";
import { isRedirect, isUpgrade, maxRedirects, redirectTarget, registryOf } from "./redirect.ts";

/** One question to the registry, about one repository or, without any, about the account. */
export interface Ask {
  readonly method: "GET" | "HEAD";
  /** `token`: about the account. */
  readonly type: "manifest" | "blob" | "tags" | "token";
  readonly repository: Repository | undefined;
  /** Whose credentials go with it; left out: this mirror's own. */
  readonly caller?: CallerCredentials | undefined;
  /** What stands after `/v2/<repository>/` in the path. */
  readonly endpoint: string;
  readonly query?: URLSearchParams;
  /** Besides the ones every request has. Never Authorization. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Members of Via that go before our own: the mirrors whose request this question answers. */
  readonly via?: string;
  /** Left out: the GET of a blob is a transfer, everything else is small. */
  readonly use?: Use;
  readonly yields?: Yielding | undefined;
}

/** An answer's head, and its body, which must be read to its end or destroyed. */
export interface Reply extends ReplyHead {
  readonly body: Readable;
}

/** Asks one upstream. */
export type Asker = Pick<UpstreamClient, "ask">;

/** What storages answer when the address they were asked at has expired: S3 and Azure 403, Google 400 or 403. */
const expiredAddress: ReadonlySet<number> = new Set([400, 401, 403]);

/** Most times a question is asked once more with another proof. */
const mostProofs = 2;

export interface UpstreamClientOptions {
  readonly config: UpstreamConfig;
  readonly authorizer: Authorizer;
  /** Left out: callers have no credentials for this registry. */
  readonly callers?: CallerAuthorizers | undefined;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  /** Between the probes of an upstream that does not answer. */
  readonly pause: Pause;
  /** How this mirror names itself in Via. */
  readonly pseudonym: string;
  readonly signed?: SignedHeaders | undefined;
  /** See UpstreamOptions: its 504 is read as 404. Left out: false. */
  readonly onlyIfCached?: boolean;
}

/** Headers by which the registry knows who asks, made anew for each request to its own origin. */
export type SignedHeaders = (method: string, url: URL) => Promise<Readonly<Record<string, string>>>;

export class UpstreamClient {
  readonly #config: UpstreamConfig;
  readonly #pseudonym: string;
  readonly #authorizer: Authorizer;
  readonly #callers: CallerAuthorizers | undefined;
  readonly #signed: SignedHeaders | undefined;
  readonly #onlyIfCached: boolean;
  readonly #notices: NoticeSink;
  readonly #clock: Clock;
  readonly #gate: ConnectionGate;
  readonly #limits: RateLimits;
  readonly #circuit: UpstreamCircuit;
  readonly #connections: Connections;
  /** Milliseconds from a request to the registry to the headers of its answer, at least. */
  #quickest = Number.POSITIVE_INFINITY;
  /** Questions that have begun, and whose answer's body has not ended. */
  #underWay = 0;
  /** Called when there is none any more; undefined as long as new ones come. */
  #unused: (() => void) | undefined;

  constructor({
    config,
    authorizer,
    callers,
    notices,
    clock,
    pause,
    pseudonym,
    signed,
    onlyIfCached = false,
  }: UpstreamClientOptions) {
    this.#config = config;
    this.#signed = signed;
    this.#onlyIfCached = onlyIfCached;
    this.#pseudonym = pseudonym;
    this.#authorizer = authorizer;
    this.#callers = callers;
    this.#notices = notices;
    this.#clock = clock;
    this.#gate = new ConnectionGate(config.name, config.maxConnections, config.firstByteTimeout);
    this.#limits = new RateLimits(config.name, notices, clock);
    this.#connections = new Connections(config, pseudonym);
    const probe = (signal: AbortSignal) => this.#connections.ping(signal);
    this.#circuit = new UpstreamCircuit({ upstream: config.name, probe, notices, clock, pause });
  }

  /** Requests that hold a connection. */
  get active(): number {
    return this.#gate.held;
  }

  /** Milliseconds the quickest answer of the registry took, or connecting to it; undefined before the first one. */
  get roundTrip(): number | undefined {
    const quickest = Math.min(this.#connections.roundTrip ?? Number.POSITIVE_INFINITY, this.#quickest);
    return Number.isFinite(quickest) ? quickest : undefined;
  }

  /** Whether a request of the background would be let in at once. */
  get spare(): boolean {
    return this.#gate.free("background");
  }

  /** See Upstream. */
  get allowance(): number {
    return this.#limits.allowance;
  }

  get circuit(): Pick<UpstreamCircuit, "state"> {
    return this.#circuit;
  }

  /**
   * Sends one question and follows its redirects. Rejects with UpstreamError, with the signal's reason, or with
   * MovedToHttps. Waits for a free connection, for the connection, and for the first byte at most the configured times
   * each. An upstream that asked to slow down, that has not answered lately, or is `offline`, is not asked.
   */
  async ask(ask: Ask): Promise<Reply> {
    let leave: (() => void) | undefined;
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      leave?.();
      this.#underWay--;
      if (this.#underWay === 0) this.#unused?.();
    };
    this.#underWay++;
    try {
      const repository = ask.repository && upstreamRepository(this.#config, ask.repository);
      const renamed = { ...ask, repository };
      const use = useOf(ask);
      this.#mayAsk(ask);
      leave = await this.#gate.enter(use, ask.signal, ask.yields);
      this.#mayAsk(ask);
      const reply = await this.#answer(renamed);
      reply.body.once("close", end);
      if (reply.body.closed) end();
      return reply;
    } catch (error) {
      end();
      throw error;
    }
  }

  #mayAsk(ask: Ask): void {
    const { name, offline } = this.#config;
    if (offline === true)
      throw new UpstreamError("offline", `upstream ${name} is asked for nothing: offline is set for it`);
    this.#circuit.check();
    this.#limits.check(limitedKindOf(ask));
  }

  /**
   * Takes the place of another one. While that one could not reach upstream, this one begins with a probe. What that one
   * has learned of the registry, and its tokens, count here too, unless another registry may be meant now.
   */
  continue(before: UpstreamClient): void {
    if (this.#config.offline !== true) this.#circuit.continue(before.#circuit);
    if (!isSameRegistry(this.#config, before.#config)) return;
    this.#quickest = before.#quickest;
    this.#authorizer.continue?.(before.#authorizer);
    if (before.#callers !== undefined) this.#callers?.continue(before.#callers);
  }

  /** For one that gets no new questions: resolves when those under way have ended, and closes every connection. */
  async retire(): Promise<void> {
    this.#circuit.close();
    if (this.#underWay > 0)
      await new Promise<void>((resolve) => {
        this.#unused = resolve;
      });
    await this.close();
  }

  /** Ends every transfer and closes every connection. */
  async close(): Promise<void> {
    this.#circuit.close();
    await Promise.all([this.#connections.close(), this.#authorizer.close(), this.#callers?.close()]);
  }

  /**
   * An address from a redirect is used once, at once: every question, a resumed transfer's too, begins at upstream's
   * own URL. When a storage refuses its address, the question is sent once more and gets a new one.
   */
  async #answer(ask: Ask): Promise<Reply> {
    const reply = await this.#follow(ask);
    if (reply.sender !== "storage" || ask.method !== "GET" || !expiredAddress.has(reply.status)) return reply;
    discard(reply.body);
    return await this.#follow(ask);
  }

  async #follow(ask: Ask): Promise<Reply> {
    const { name, url: registry } = this.#config;
    const asked =
      ask.repository === undefined
        ? new URL(apiPath(registry), registry)
        : apiUrl(registry, ask.repository, ask.endpoint, ask.query);
    const question = ask.repository === undefined ? "/v2/" : `/v2/${ask.repository}/${ask.endpoint}`;
    let url = asked;
    let reply = await this.#askOwn(url, ask);
    let foreign = false;
    for (let followed = 0; isRedirect(reply.status); followed++) {
      discard(reply.body);
      if (followed === maxRedirects) {
        const text = `upstream ${name} redirected more than ${maxRedirects} times`;
        throw new UpstreamError("protocol", text, { status: reply.status });
      }
      const from = url;
      url = redirectTarget(from, reply.headers.location, { upstream: name, otherOrigins: true });
      if (!foreign && isUpgrade(from, url)) {
        const secure = registryOf(url, asked, question);
        if (secure !== undefined) throw new MovedToHttps(secure);
      }
      // Once away, never again with credentials: a foreign host must not be able to aim our account at a path.
      foreign ||= url.origin !== registry.origin;
      const sender = registryOf(url, asked, `/${ask.endpoint}`) === undefined ? "storage" : "registry";
      reply = foreign
        ? await this.#send(sender, this.#foreignRequest(url, ask), ask)
        : await this.#askOwn(url, ask);
    }
    return reply;
  }

  async #askOwn(url: URL, ask: Ask): Promise<Reply> {
    try {
      for (let tries = 1; ; tries++) {
        const request = await this.#ownRequest(url, ask);
        const reply = await this.#send("upstream", request, ask);
        const sent = request.headers?.authorization;
        if (tries > mostProofs || !(await this.#hasOtherProof(reply, ask, sent, tries > 1)))
          return await this.#judged(reply, ask, sent);
        discard(reply.body);
      }
    } catch (error) {
      if (error instanceof RepositoryRefused) return refusalOf(error, url);
      throw error;
    }
  }

  /**
   * Whether asking again with a new Authorization header may help. `sent`: the one of the request answered. `again`: it is
   * not the first such request.
   */
  async #hasOtherProof(reply: Reply, ask: Ask, sent: string | undefined, again: boolean): Promise<boolean> {
    const { status } = reply;
    if (!mayRefuseAccount(status) && (status !== 404 || this.#onlyIfCached)) return false;
    const scope = { repository: ask.repository };
    const authorizer = this.#authorizerFor(ask);
    return await this.#whileOpen(reply, ask, async () => {
      if (status === 401) return authorizer.refused(scope, challengeFields(reply.headers), sent, again);
      if (again) return false;
      if (status !== 404 && (await authorizer.renewed(scope, sent))) return true;
      return status !== 400 && (await authorizer.hidden(scope, sent));
    });
  }

  /** The reply, with what is known of our account when it may be about the account. */
  async #judged(reply: Reply, ask: Ask, sent: string | undefined): Promise<Reply> {
    if (!mayRefuseAccount(reply.status)) return reply;
    const answer = { status: reply.status, challenges: challengeFields(reply.headers) };
    const account = await this.#whileOpen(reply, ask, () => this.#authorizerFor(ask).judge(answer, sent));
    return account === undefined ? reply : { ...reply, account };
  }

  /** Throws the body away when a question about its head fails. */
  async #whileOpen<T>(reply: Reply, ask: Ask, question: () => Promise<T>): Promise<T> {
    try {
      return await orAborted(question(), ask.signal);
    } catch (error) {
      discard(reply.body);
      throw error;
    }
  }

  /** Who asks decides whose credentials are sent. Throws NobodyAsks. */
  #authorizerFor({ caller }: Ask): Authorizer {
    const { auth, name } = this.#config;
    if (this.#callers === undefined) {
      if (caller !== undefined) throw new Error(`upstream ${name} is not asked with credentials of callers`);
      return this.#authorizer;
    }
    if (caller !== undefined) return this.#callers.of(caller);
    if (auth.kind === "none") throw new NobodyAsks(name);
    return this.#authorizer;
  }

  /** The one place where credentials are added, and only to requests to the configured origin. */
  async #ownRequest(url: URL, ask: Ask): Promise<Request> {
    if (url.origin !== this.#config.url.origin) {
      throw new Error("credentials were about to be added to a request to another origin");
    }
    const request = this.#request(url, ask);
    const header = this.#authorizerFor(ask).header({ repository: ask.repository });
    const authorization = await orAborted(header, ask.signal);
    const signed = await this.#signed?.(ask.method, url);
    if (authorization === undefined && signed === undefined) return request;
    const added = { ...(authorization === undefined ? {} : { authorization }), ...signed };
    return { ...request, headers: { ...request.headers, ...added } };
  }

  /** What trace a request belongs to is told to the registry alone. */
  #foreignRequest(url: URL, ask: Ask): Request {
    const { traceparent: _, ...headers } = ask.headers ?? {};
    return this.#request(url, { ...ask, headers });
  }

  #request(url: URL, ask: Ask): Request {
    return {
      origin: url.origin,
      path: url.pathname + url.search,
      method: ask.method,
      headers: { ...ask.headers, via: viaOf(this.#pseudonym, ask.via) },
      // undici closes the connection after every HEAD otherwise, and each revalidation would pay for a handshake.
      reset: false,
      ...(ask.signal === undefined ? {} : { signal: ask.signal }),
    };
  }

  async #send(sender: Sender, request: Request, ask: Ask): Promise<Reply> {
    const started = this.#clock();
    const own = sender === "upstream";
    const connections = this.#connections[own ? "own" : "foreign"];
    const host = String(request.origin).replace(/^[^/]*\/\//, "");
    const { name } = this.#config;
    const label = own ? name : `${name}, which redirected to ${host},`;
    const send = async () => {
      const { statusCode, headers, body } = await dispatch(connections, request, name, own, label);
      return { statusCode: this.#onlyIfCached && statusCode === 504 ? 404 : statusCode, headers, body };
    };
    // What other hosts do says nothing about the registry.
    const { statusCode, headers, body } = own
      ? await this.#circuit.run(`${ask.repository}/${ask.endpoint}`, send)
      : await send();
    const ttfbMs = this.#clock() - started;
    if (own) this.#quickest = Math.min(this.#quickest, ttfbMs);
    this.#notices({
      kind: "upstream_request",
      upstream: this.#config.name,
      type: ask.type,
      method: ask.method,
      status: statusCode,
      ttfbMs,
    });
    if (own) this.#limits.note(limitedKindOf(ask), statusCode, headers as IncomingHttpHeaders);
    return { status: statusCode, headers: headers as IncomingHttpHeaders, body, sender, host };
  }
}

/** The registry is at another address: the same name, over https. The question has to be asked there. */
export class MovedToHttps extends Error {
  readonly url: URL;

  constructor(url: URL) {
    super("redirected to https");
    this.url = url;
  }
}

/** Bytes of a refusal that are read for its words, and milliseconds they may take. */
const longestRefusal = 64 * 1024;
const refusalTimeout = 5_000;

/** `readStatus` of a whole reply: whatever is not `found` has its body read for upstream's words, or thrown away. */
export async function statusOf(
  upstream: string,
  reply: Reply,
  found: readonly number[],
  now: number,
): Promise<Refusal | undefined> {
  let keep = false;
  try {
    const refusal = readStatus(upstream, reply, found, now);
    keep = refusal === undefined;
    if (refusal === undefined) return undefined;
    const limits = { upstream, limit: longestRefusal, timeout: refusalTimeout };
    // A body that broke off says nothing; the status does.
    const body = await readSmallBody(reply.body, limits).catch(() => undefined);
    return withWords(upstream, refusal, reply, body ?? Buffer.alloc(0));
  } finally {
    if (!keep) discard(reply.body);
  }
}

/** Whether the two ask the same registry and would believe the same server to be it. */
function isSameRegistry(a: UpstreamConfig, b: UpstreamConfig): boolean {
  const trust = ({ tls }: UpstreamConfig) => [tls?.ca, tls?.cert, tls?.key?.reveal(), tls?.serverName];
  const identity = (config: UpstreamConfig) =>
    JSON.stringify([config.url.href, config.tokenRealms, trust(config)]);
  return identity(a) === identity(b);
}

/** A token server's refusal as the answer to the question the token was for. */
function refusalOf({ body }: RepositoryRefused, { host }: URL): Reply {
  const headers = { "content-type": "application/json" };
  const sender = "upstream";
  return { status: 403, headers, body: Readable.from([body]), sender, host, account: "accepted" };
}

function useOf(ask: Ask): Use {
  return ask.use ?? limitedKindOf(ask);
}

/** The registry counts what nobody waits for like everything else. */
function limitedKindOf({ type, method }: Ask): LimitedKind {
  return type === "blob" && method === "GET" ? "transfer" : "small";
}

/**
 * The name upstream has for a repository: Artifactory's repository-path method puts its own name before ours. Throws
 * UpstreamError protocol for a name that is too long with it.
 */
export function upstreamRepository(
  { name, repositoryPrefix }: Pick<UpstreamConfig, "name" | "repositoryPrefix">,
  repository: Repository,
): Repository {
  if (repositoryPrefix === "") return repository;
  const prefixed = parseRepository(`${repositoryPrefix}/${repository}`);
  if (prefixed === undefined)
    throw new UpstreamError("protocol", `upstream ${name}: a repository name is too long with its prefix`);
  return prefixed;
}
