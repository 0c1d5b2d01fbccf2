// Where writes go: the registry reads come from, with the same account, over connections of their own.
import { Agent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import type { ProxyServer, UpstreamConfig } from "../config/config.ts";
import type { Repository } from "../oci/name.ts";
import { proxiedAgent } from "../outbound/proxied-agent.ts";
import { proxyFor } from "../outbound/proxy.ts";
import type { CallerCredentials } from "../ports/caller-credentials.ts";
import type { Actions, PushTarget } from "../ports/push.ts";
import type { Authorizer, TokenScope } from "./auth/authorizer.ts";
import { CallerAuthorizers } from "./auth/caller-authorizers.ts";
import { upstreamRepository } from "./client.ts";
import { createAddressRules } from "./connection/address-rules.ts";
import { connectOptions } from "./connection/connection-options.ts";
import { type Guard, guardedAgent, refusedHost } from "./connection/guarded-connector.ts";
import { asUpstreamError } from "./failure.ts";

/** Idle connections are closed before the usual servers do it, in milliseconds; and how many are kept. */
const keepAlive = 15_000;
const maxIdle = 16;

/** Repositories pushed to at about the same time, by callers with credentials of their own, whose last header is remembered. */
const maxRepositories = 1_000;

/** The caller bounds how many requests are under way, and adds the header to requests to the origin of `url` only. */
export class HttpPushTarget implements PushTarget {
  readonly url: URL;
  readonly #config: UpstreamConfig;
  readonly #authorizer: Authorizer | CallerAuthorizers;
  readonly #agent: Agent;
  /** For addresses that come from outside, by protocol. */
  readonly #foreign: Readonly<Record<string, Agent>>;
  /** For those that are reached through a proxy, by protocol. */
  readonly #proxied: Readonly<Record<string, Agent>>;
  readonly #sent = new LRUCache<string, { readonly scope: TokenScope; readonly header: string }>({
    max: maxRepositories,
  });

  /** Throws the system's error for unreadable certificates. */
  constructor(config: UpstreamConfig, authorizer: Authorizer | CallerAuthorizers) {
    this.url = config.url;
    this.#config = config;
    this.#authorizer = authorizer;
    const connect = connectOptions(config);
    const options = { keepAlive: true, timeout: keepAlive, maxFreeSockets: maxIdle };
    const { url, proxy } = config;
    const own = { ...options, ...tlsOf(connect.own) };
    const through = (server: ProxyServer, guard?: Guard) => ({
      proxy: server,
      timeout: config.connectTimeout,
      trust: connect.foreign.secureContext,
      refuse: (host: string) => guard && refusedHost(guard, host),
      failure: (error: unknown) => asUpstreamError(error, "head", config.name),
    });
    const server = proxyFor(proxy, url);
    if (server !== undefined) this.#agent = proxiedAgent(url.protocol, own, through(server));
    else this.#agent = url.protocol === "https:" ? new HttpsAgent(own) : new Agent(options);
    const guard = {
      upstream: config.name,
      rules: createAddressRules(config.redirectsTo),
      did: "led a write to",
      setting: "redirectsTo",
    };
    this.#foreign = {
      "http:": guardedAgent(guard, new Agent()),
      "https:": guardedAgent(guard, new HttpsAgent(tlsOf(connect.foreign))),
    };
    const proxied = (protocol: string, server: ProxyServer | undefined) =>
      server && { [protocol]: proxiedAgent(protocol, tlsOf(connect.foreign), through(server, guard)) };
    this.#proxied = { ...proxied("http:", proxy?.http), ...proxied("https:", proxy?.https) };
  }

  agentFor(url: URL): Agent {
    if (url.origin === this.url.origin) return this.#agent;
    const foreign = proxyFor(this.#config.proxy, url) === undefined ? this.#foreign : this.#proxied;
    return foreign[url.protocol] ?? this.#agent;
  }

  upstreamRepository(repository: Repository): Repository {
    return upstreamRepository(this.#config, repository);
  }

  async authorization(
    repository: Repository,
    actions: Actions,
    _from?: Repository,
    caller?: CallerCredentials,
  ): Promise<string | undefined> {
    const scope = { repository, actions };
    const header = await this.#authorizerOf(caller).header(scope);
    if (header !== undefined) this.#sent.set(sentKey(repository, caller), { scope, header });
    return header;
  }

  async refused(
    repository: Repository,
    challenges: readonly string[],
    status: 400 | 401 | 403,
    caller?: CallerCredentials,
  ): Promise<boolean> {
    const authorizer = this.#authorizerOf(caller);
    const last = this.#sent.get(sentKey(repository, caller));
    const scope: TokenScope = last?.scope ?? { repository, actions: "pull,push" };
    return status === 401
      ? authorizer.refused(scope, challenges, last?.header)
      : authorizer.renewed(scope, last?.header);
  }

  /** Nobody writes with an account that is not the caller's. */
  #authorizerOf(caller: CallerCredentials | undefined): Authorizer {
    if (this.#authorizer instanceof CallerAuthorizers) {
      if (caller !== undefined) return this.#authorizer.of(caller);
    } else if (caller === undefined) return this.#authorizer;
    throw new Error(
      `upstream ${this.#config.name}: a write would have gone out with somebody else's account`,
    );
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    for (const each of [this.#agent, ...Object.values(this.#foreign), ...Object.values(this.#proxied)])
      each.destroy();
    await this.#authorizer.close();
  }
}

function sentKey(repository: Repository, caller: CallerCredentials | undefined): string {
  return caller === undefined ? repository : `${repository} ${caller.identity}`;
}

function tlsOf(options: object): { readonly secureContext?: SecureContext; readonly servername?: string } {
  const { secureContext, servername } = options as { secureContext?: SecureContext; servername?: string };
  return { ...(secureContext && { secureContext }), ...(servername && { servername }) };
}
