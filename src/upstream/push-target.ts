// Where writes go: the registry reads come from, with the same account, over connections of their own.
import { Agent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import type { UpstreamConfig } from "../config/config.ts";
import type { Repository } from "../oci/name.ts";
import type { PushTarget } from "../ports/push.ts";
import type { Authorizer, Scope } from "./auth/authorizer.ts";
import { upstreamRepository } from "./client.ts";
import { createAddressRules } from "./connection/address-rules.ts";
import { connectOptions } from "./connection/connection-options.ts";
import { guardedAgent } from "./connection/guarded-connector.ts";

/** Idle connections are closed before the usual servers do it, in milliseconds; and how many are kept. */
const keepAlive = 15_000;
const maxIdle = 16;

/** Repositories pushed to at about the same time, whose last credentials are remembered. */
const maxRepositories = 1_000;

export type ClosablePushTarget = PushTarget & {
  /** Ends every connection. */
  close(): Promise<void>;
};

/**
 * The caller bounds how many requests are under way, and adds the header to requests to the origin of `url` only.
 * Throws the system's error for unreadable certificates.
 */
export function createPushTarget(config: UpstreamConfig, authorizer: Authorizer): ClosablePushTarget {
  const { url } = config;
  const connect = connectOptions(config);
  const options = { keepAlive: true, timeout: keepAlive, maxFreeSockets: maxIdle };
  const agent =
    url.protocol === "https:" ? new HttpsAgent({ ...options, ...tlsOf(connect.own) }) : new Agent(options);
  const guard = {
    upstream: config.name,
    rules: createAddressRules(config.redirectsTo),
    did: "led a write to",
    setting: "redirectsTo",
  };
  const foreign: Readonly<Record<string, Agent>> = {
    "http:": guardedAgent(guard, new Agent()),
    "https:": guardedAgent(guard, new HttpsAgent(tlsOf(connect.foreign))),
  };
  const sent = new LRUCache<Repository, { readonly scope: Scope; readonly header: string }>({
    max: maxRepositories,
  });
  return {
    url,
    agentFor: ({ origin, protocol }) => (origin === url.origin ? agent : (foreign[protocol] ?? agent)),
    upstreamRepository: (repository) => upstreamRepository(config, repository),
    async authorization(repository, actions) {
      const scope = { repository, actions };
      const header = await authorizer.header(scope);
      if (header !== undefined) sent.set(repository, { scope, header });
      return header;
    },
    refused(repository, challenges) {
      const last = sent.get(repository);
      const scope: Scope = last?.scope ?? { repository, actions: "pull,push" };
      return authorizer.refused(scope, challenges, last?.header);
    },
    async close() {
      for (const each of [agent, ...Object.values(foreign)]) each.destroy();
      await authorizer.close();
    },
  };
}

function tlsOf(options: object): { readonly secureContext?: SecureContext; readonly servername?: string } {
  const { secureContext, servername } = options as { secureContext?: SecureContext; servername?: string };
  return { ...(secureContext && { secureContext }), ...(servername && { servername }) };
}
