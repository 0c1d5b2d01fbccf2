// Makes the authorizer of an upstream from the kind of credentials that is configured.
import type { lookup } from "node:dns";
import { Agent, Pool } from "undici";
import type { UpstreamConfig } from "../../config/config.ts";
import { apiPath } from "../../oci/api-url.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { SecretSource } from "../../ports/secret.ts";
import { discard, readSmallBody, smallBodyTimeout } from "../body.ts";
import { createAddressRules } from "../connection/address-rules.ts";
import { connectionOptions, connectOptions } from "../connection/connection-options.ts";
import { dispatch } from "../connection/dispatch.ts";
import { KeptConnections, watched } from "../connection/kept-connections.ts";
import { foreignConnector, forwardingOf, ownConnector } from "../connection/proxied-connector.ts";
import { AccountChecks, type AccountVerdict, mayRefuseAccount } from "./account-checks.ts";
import type { Authorizer, RefusingAnswer } from "./authorizer.ts";
import { CallerAuthorizers } from "./caller-authorizers.ts";
import { challengeFields } from "./challenge.ts";
import { askCloud, type CloudOptions } from "./cloud-accounts.ts";
import { CredentialHelper } from "./credential-helper.ts";
import { type CredentialSource, configuredCredentials, noCredentials } from "./credentials.ts";
import { Negotiator, type NegotiatorOptions } from "./negotiator.ts";
import { RenewedCredentials } from "./renewed-credentials.ts";
import { TokenCache } from "./token-cache.ts";
import { TokenServer } from "./token-server.ts";

/**
 * Connections to each origin for questions about credentials. They are apart from those for content: a request that
 * holds one of those may be waiting for a token, so no token may wait for them.
 */
const connectionsPerOrigin = 4;
/** Bytes of a registry's answer to an exchange of tokens that are read. */
const longestExchange = 64 * 1024;
/** Scopes whose challenge is remembered for one caller. */
const scopesOfCaller = 20;
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
  const connections = connectionsForQuestions(config, resolve);
  const source = sourceThatCloses(config, clock, connections);
  const credentials: CredentialSource =
    auth.kind === "basic"
      ? configuredCredentials({ ...auth, password: reported(auth.password) })
      : (source ?? noCredentials);
  const questions = questionsAbout(config, connections, notices, clock);
  if (auth.kind === "header") return fixedHeader(reported(auth.value), questions.checked, connections);
  return new Negotiator({
    ...questions,
    credentials,
    close: async () => {
      source?.close();
      await connections.destroy();
    },
  });
}

/** As `createAuthorizer`, for callers with credentials of their own. */
export function createCallerAuthorizers(
  config: UpstreamConfig,
  notices: NoticeSink,
  clock: Clock,
): CallerAuthorizers {
  const connections = connectionsForQuestions(config, undefined);
  const questions = questionsAbout(config, connections, notices, clock);
  return new CallerAuthorizers({
    tokens: questions.tokens,
    make: (credentials) =>
      new Negotiator({ ...questions, credentials, maxKnown: scopesOfCaller, close: async () => {} }),
    close: () => connections.destroy(),
  });
}

/** What is asked about accounts, and remembered of the answers, under the account it is about. */
function questionsAbout(
  config: UpstreamConfig,
  connections: KeptConnections,
  notices: NoticeSink,
  clock: Clock,
): Omit<NegotiatorOptions, "credentials" | "close"> {
  const checks = new AccountChecks(clock);
  const server = new TokenServer({ config, connections, notices, clock });
  return {
    config,
    tokens: new TokenCache((target, account) => server.token(target, account), clock),
    challenges: (authorization) => askForChallenges(config, connections, authorization),
    checked: (authorization, proven) =>
      checks.check(`${authorization} ${proven}`, () => verdictAt(config, connections, authorization, proven)),
    checkedByTokenServer: (target, account) => {
      const key = `${target.realm} ${target.service} ${account?.identity}`;
      return checks.check(key, () => server.verdict(target, account));
    },
    clock,
  };
}

/** A source of credentials that asks somebody, until it is closed; undefined for the other kinds. */
function sourceThatCloses(
  config: UpstreamConfig,
  clock: Clock,
  connections: KeptConnections,
): (CredentialSource & { close(): void }) | undefined {
  const { auth, name, url } = config;
  if (auth.kind === "helper") return new CredentialHelper(auth, { upstream: name, clock });
  if (auth.kind !== "cloud") return undefined;
  const label = `${name}: its credential source ${auth.cloud}`;
  const postToRegistry: CloudOptions["postToRegistry"] = async (path, form, signal) => {
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const asked = {
      origin: url.origin,
      path,
      method: "POST",
      headers,
      body: form.toString(),
      signal,
    } as const;
    const { statusCode: status, body } = await dispatch(connections, asked, name);
    const limits = { upstream: name, limit: longestExchange, timeout: smallBodyTimeout(config.idleTimeout) };
    return { status, body: String((await readSmallBody(body, limits)) ?? "") };
  };
  const ask = (signal: AbortSignal) =>
    askCloud({ auth, url, proxy: config.proxy, clock, postToRegistry }, signal);
  return new RenewedCredentials({ label, ask, clock });
}

/** Connections for questions about credentials, to upstream and to token servers. */
function connectionsForQuestions(
  config: UpstreamConfig,
  resolve: typeof lookup | undefined,
): KeptConnections {
  const connect = connectOptions(config);
  // token-realm.ts decides which token servers upstream may name, this guard which addresses they may have.
  const guard = {
    upstream: config.name,
    rules: createAddressRules([
      ...config.redirectsTo,
      ...config.tokenRealms.map((realm) => URL.parse(`https://${realm}`)?.hostname ?? realm),
    ]),
    did: "wants tokens from",
    setting: "tokenRealms",
    resolve,
  };
  return new KeptConnections(
    () =>
      new Agent({
        ...connectionOptions(config),
        connections: Math.min(connectionsPerOrigin, config.maxConnections),
        maxOrigins,
        factory: (origin, options) => {
          const own = String(origin) === config.url.origin;
          const to = own ? ownConnector(config, connect) : foreignConnector(config, connect, guard);
          return new Pool(origin, { ...options, connect: watched(to) });
        },
      }),
    forwardingOf(config),
  );
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
function fixedHeader(
  value: SecretSource,
  checked: (authorization: string | undefined, proven: boolean) => Promise<AccountVerdict>,
  connections: KeptConnections,
): Authorizer {
  const read = async (): Promise<string> => (await value.read()).reveal();
  return {
    header: read,
    refused: async (_scope, _challenges, sent) => (await read()) !== sent,
    renewed: async (_scope, sent) => (await read()) !== sent,
    hidden: async () => false,
    judge: (_answer, sent) => checked(sent, false),
    close: () => connections.destroy(),
  };
}

/**
 * How upstream says at `/v2/` that it wants to be asked, by somebody with this Authorization value: WWW-Authenticate of a
 * 401; empty for any other answer. Rejects with UpstreamError.
 */
async function askForChallenges(
  config: Pick<UpstreamConfig, "name" | "url">,
  connections: KeptConnections,
  authorization: string | undefined,
): Promise<readonly string[]> {
  const { status, challenges } = await askForSupport(config, connections, authorization);
  return status === 401 ? challenges : [];
}

/**
 * What `<upstream url>/v2/` says of an Authorization value. A registry that lets everybody in there says nothing about an
 * account, unless the account is `proven`: a token server has accepted it. Rejects with UpstreamError.
 */
async function verdictAt(
  config: Pick<UpstreamConfig, "name" | "url">,
  connections: KeptConnections,
  authorization: string | undefined,
  proven: boolean,
): Promise<AccountVerdict> {
  const { status } = await askForSupport(config, connections, authorization);
  if (mayRefuseAccount(status)) return "refused";
  if (status !== 200) return undefined;
  if (proven || authorization === undefined) return "accepted";
  const { status: ofAnyone } = await askForSupport(config, connections, undefined);
  return mayRefuseAccount(ofAnyone) ? "accepted" : undefined;
}

/** Asks for the version check every registry answers (distribution-spec, "Determining Support"). Rejects with UpstreamError. */
async function askForSupport(
  { name, url }: Pick<UpstreamConfig, "name" | "url">,
  connections: KeptConnections,
  authorization: string | undefined,
): Promise<RefusingAnswer> {
  const headers = authorization === undefined ? {} : { authorization };
  const request = { origin: url.origin, path: apiPath(url), method: "GET", headers } as const;
  const { statusCode: status, headers: answered, body } = await dispatch(connections, request, name);
  discard(body);
  return { status, challenges: challengeFields(answered) };
}
