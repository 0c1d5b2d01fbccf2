// Makes the authorizer of an upstream from the kind of credentials that is configured.
import type { lookup } from "node:dns";
import { Agent, buildConnector, Pool } from "undici";
import type { UpstreamConfig } from "../../config/config.ts";
import { apiPath } from "../../oci/api-url.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { SecretSource } from "../../ports/secret.ts";
import { discard } from "../body.ts";
import { createAddressRules } from "../connection/address-rules.ts";
import { connectionOptions, connectOptions } from "../connection/connection-options.ts";
import { dispatch } from "../connection/dispatch.ts";
import { guardedConnector } from "../connection/guarded-connector.ts";
import { KeptConnections, watched } from "../connection/kept-connections.ts";
import type { Authorizer } from "./authorizer.ts";
import { CredentialHelper } from "./credential-helper.ts";
import { type CredentialSource, configuredCredentials, noCredentials } from "./credentials.ts";
import { Negotiator } from "./negotiator.ts";
import { TokenCache } from "./token-cache.ts";
import { TokenServer } from "./token-server.ts";

/**
 * Connections to each origin for questions about credentials. They are apart from those for content: a request that
 * holds one of those may be waiting for a token, so no token may wait for them.
 */
const connectionsPerOrigin = 4;
/** Origins connected to at once: token servers, and upstream. */
const maxOrigins = 8;

/**
 * Asks nothing and connects to nothing before the first request. `clock` in milliseconds; `resolve` finds the addresses
 * of token servers.
 */
export function createAuthorizer(
  config: UpstreamConfig,
  notices: NoticeSink,
  clock: Clock,
  resolve?: typeof lookup,
): Authorizer {
  const { auth, name } = config;
  const reported = (source: SecretSource) =>
    reporting(source, (message) => notices({ kind: "secret_problem", upstream: name, message }));
  if (auth.kind === "header") return fixedHeader(reported(auth.value));
  const helper = auth.kind === "helper" ? new CredentialHelper(auth, { upstream: name, clock }) : undefined;
  const credentials: CredentialSource =
    auth.kind === "basic"
      ? configuredCredentials({ ...auth, password: reported(auth.password) })
      : (helper ?? noCredentials);
  const connect = connectOptions(config);
  // token-realm.ts decides which token servers upstream may name, this guard which addresses they may have.
  const guard = {
    upstream: name,
    rules: createAddressRules([
      ...config.redirectsTo,
      ...config.tokenRealms.map((realm) => URL.parse(`https://${realm}`)?.hostname ?? realm),
    ]),
    did: "wants tokens from",
    setting: "tokenRealms",
    resolve,
  };
  const connections = new KeptConnections(
    () =>
      new Agent({
        ...connectionOptions(config),
        connections: Math.min(connectionsPerOrigin, config.maxConnections),
        maxOrigins,
        factory: (origin, options) => {
          const own = String(origin) === config.url.origin;
          const to = own ? buildConnector(connect.own) : guardedConnector(guard, connect.foreign);
          return new Pool(origin, { ...options, connect: watched(to) });
        },
      }),
  );
  const server = new TokenServer({ config, connections, notices, clock });
  const tokens = new TokenCache((target, account) => server.token(target, account), clock);
  return new Negotiator({
    config,
    credentials,
    tokens,
    challenges: (authorization) => askForChallenges(config, connections, authorization),
    clock,
    close: async () => {
      helper?.close();
      await connections.destroy();
    },
  });
}

/** The same source, which calls `report` once for every new problem. */
function reporting(source: SecretSource, report: (problem: string) => void): SecretSource {
  let reported: string | undefined;
  return {
    get problem() {
      return source.problem;
    },
    async read() {
      const secret = await source.read();
      const { problem } = source;
      if (problem !== undefined && problem !== reported) report(problem);
      reported = problem;
      return secret;
    },
  };
}

/** Sends a configured value as it is, and again after a 401 when the file it comes from holds another by then. */
function fixedHeader(value: SecretSource): Authorizer {
  const read = async (): Promise<string> => (await value.read()).reveal();
  return {
    header: read,
    refused: async (_scope, _challenges, sent) => (await read()) !== sent,
    renewed: async (_scope, sent) => (await read()) !== sent,
    hidden: async () => false,
    close: async () => {},
  };
}

/**
 * Asks for the version check every registry answers (distribution-spec, "Determining Support"), with this Authorization
 * value or without one, to hear how it wants to be asked: WWW-Authenticate of a 401 to `<upstream url>/v2/`; empty for any
 * other answer. Rejects with UpstreamError.
 */
async function askForChallenges(
  { name, url }: Pick<UpstreamConfig, "name" | "url">,
  connections: KeptConnections,
  authorization: string | undefined,
): Promise<readonly string[]> {
  const request = {
    origin: url.origin,
    path: apiPath(url),
    method: "GET",
    headers: authorization === undefined ? {} : { authorization },
  } as const;
  const { statusCode, headers, body } = await dispatch(connections, request, name);
  discard(body);
  return statusCode === 401 ? [headers["www-authenticate"] ?? []].flat() : [];
}
