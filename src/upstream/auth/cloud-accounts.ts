// Accounts that a cloud gives to its machines, and to programs it knows by what their platform has signed
// (workload-identity.ts), for its own registries: Amazon ECR, Google's Artifact Registry, Azure Container Registry. No secret
// has to be written into a configuration, and none has to be replaced.
import { text } from "node:stream/consumers";
import { request } from "undici";
import type { ProxyConfig, UpstreamAuth } from "../../config/config.ts";
import { sdkAgents } from "../../outbound/proxied-agent.ts";
import type { Clock } from "../../ports/clock.ts";
import { Credentials } from "./credentials.ts";
import { type EndingCredentials, SourceFailure, secondsOf } from "./renewed-credentials.ts";
import {
  azureWorkload,
  type CloudToken,
  type ExchangeOptions,
  type Fields,
  googleWorkload,
} from "./workload-identity.ts";

type CloudAuth = UpstreamAuth & { readonly kind: "cloud" };

/** Largest answer read, in bytes. */
const maxAnswer = 64 * 1024;
/** Milliseconds a proxy may take to connect; the whole question has a bound of its own. */
const proxyTimeout = 5_000;
/** What a header can carry of a token. */
const usableSecret = /^[\x21-\x7e]{1,32768}$/;

export interface CloudOptions {
  readonly auth: CloudAuth;
  /** The registry's. */
  readonly url: URL;
  /** Of the upstream; for what is not on this machine or its link. */
  readonly proxy: ProxyConfig | undefined;
  readonly clock: Clock;
  /** Asks the registry itself, over its own connections; gives the status and at most 64 KiB of the body. */
  readonly postToRegistry: (path: string, form: URLSearchParams, signal: AbortSignal) => Promise<SmallAnswer>;
}

export interface SmallAnswer {
  readonly status: number;
  readonly body: string;
}

/** Asks the cloud for an account. Rejects with SourceFailure, or with what the system or an SDK throws. */
export function askCloud(options: CloudOptions, signal: AbortSignal): Promise<EndingCredentials> {
  switch (options.auth.cloud) {
    case "ecr":
      return askEcr(options, signal);
    case "gcp":
      return askGcp(options, signal);
    case "azure":
      return askAzure(options, signal);
  }
}

// ---- Amazon ECR ---------------------------------------------------------------------------------------------------

/** `123456789012.dkr.ecr.eu-central-1.amazonaws.com`, and the same with FIPS, in China, or with both protocols. */
const ecrHost = /\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.|on\.aws$)/;
/** The public registry, over IPv4 and with both protocols. */
const publicEcrHosts: ReadonlySet<string> = new Set(["public.ecr.aws", "ecr-public.aws.com"]);

/**
 * GetAuthorizationToken, with what the SDK finds where it always looks: environment, files, web identity, container and
 * instance roles. The SDK is loaded here, so that nobody else pays for it.
 */
async function askEcr(
  { auth, url, proxy, clock }: CloudOptions,
  signal: AbortSignal,
): Promise<EndingCredentials> {
  const { ECRClient, GetAuthorizationTokenCommand } = await import("@aws-sdk/client-ecr");
  const isPublic = publicEcrHosts.has(url.hostname);
  const region = isPublic ? "us-east-1" : ecrHost.exec(url.hostname)?.[1];
  const usual = new URL(isPublic ? publicEcrApi : `https://api.ecr.${region ?? "any"}.amazonaws.com`);
  const endpoint = auth.url ?? (isPublic ? usual : undefined);
  const client = new ECRClient({
    maxAttempts: 2,
    requestHandler: sdkAgents(proxy, auth.url ?? usual, {}, proxyTimeout),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint: endpoint.href }),
    ...(isPublic ? publicEcr : {}),
  });
  try {
    const { authorizationData } = await client.send(new GetAuthorizationTokenCommand({}), {
      abortSignal: signal,
    });
    // The private one gives a list of one.
    const [given] = [authorizationData ?? []].flat() as readonly EcrAuthorization[];
    const { authorizationToken = "", expiresAt } = given ?? {};
    const [, username, secret] =
      /^([^:]+):(.+)$/.exec(Buffer.from(authorizationToken, "base64").toString()) ?? [];
    return { account: credentials(username, secret), life: timeOf(expiresAt) - clock() };
  } finally {
    client.destroy();
  }
}

interface EcrAuthorization {
  readonly authorizationToken?: string;
  /** The SDK makes a date of what it knows; else the seconds since 1970 that were sent. */
  readonly expiresAt?: Date | number;
}

/** Milliseconds since 1970; 0 for no time. */
function timeOf(expiresAt: Date | number | undefined): number {
  return typeof expiresAt === "number" ? expiresAt * 1000 : (expiresAt?.getTime() ?? 0);
}

const publicEcrApi = "https://api.ecr-public.us-east-1.amazonaws.com";

/**
 * The API of the public registry has an operation of the same name and protocol, in one region, under another name of the
 * service: for its target and for the signature.
 */
const publicEcr = {
  protocolSettings: { serviceTarget: "SpencerFrontendService", version: "2020-10-30" },
  httpAuthSchemeProvider: () => [
    {
      schemeId: "aws.auth#sigv4",
      signingProperties: { signingName: "ecr-public", signingRegion: "us-east-1" },
      // What the signer is used to be given besides.
      propertiesExtractor: (config: unknown, context: unknown) => ({
        signingProperties: { config, context },
      }),
    },
  ],
};

// ---- Google ---------------------------------------------------------------------------------------------------------

/** The user name that stands for an access token, and the one for a service account's key ("Authenticate to Artifact Registry"). */
const accessTokenUser = "oauth2accesstoken";
const keyUser = "_json_key";

/** The access token of this program's identity or of the machine's service account, or the key that stands for them. */
async function askGcp(options: CloudOptions, signal: AbortSignal): Promise<EndingCredentials> {
  const { auth } = options;
  const workload = await googleWorkload(exchange(options, signal));
  if (workload !== undefined && "key" in workload)
    return { account: new Credentials(keyUser, workload.key), life: Number.POSITIVE_INFINITY };
  if (workload !== undefined)
    return { account: credentials(accessTokenUser, workload.token), life: workload.life };
  const { url = new URL("http://metadata.google.internal"), identity = "default" } = auth;
  const path = `/computeMetadata/v1/instance/service-accounts/${encodeURIComponent(identity)}/token`;
  const answer = await metadata(new URL(path, url), { "metadata-flavor": "Google" }, signal);
  return {
    account: credentials(accessTokenUser, answer.access_token),
    life: secondsOf(answer.expires_in) * 1000,
  };
}

// ---- Azure ----------------------------------------------------------------------------------------------------------

/** The user name that stands for a refresh token ("Authenticate with an Azure container registry"). */
const refreshTokenUser = "00000000-0000-0000-0000-000000000000";
/** Seconds a refresh token lives when it does not say. */
const usualRefreshLife = 3_600;

/**
 * A token of this program's identity, or of the machine's managed identity, exchanged at the registry for a refresh token
 * (`/oauth2/exchange`), which its token server takes.
 */
async function askAzure(options: CloudOptions, signal: AbortSignal): Promise<EndingCredentials> {
  const { auth, url: registry, postToRegistry } = options;
  const workload = await azureWorkload(auth.identity, exchange(options, signal));
  const { token } = workload ?? (await managedIdentity(auth, signal));
  const form = new URLSearchParams({
    grant_type: "access_token",
    service: registry.hostname,
    access_token: credentials("", token).reveal(),
  });
  const { refresh_token: refresh } = readJson(
    "the registry",
    await postToRegistry("/oauth2/exchange", form, signal),
  );
  const account = credentials(refreshTokenUser, refresh);
  return { account, life: lifeOf(account.reveal()) * 1000 };
}

/** From the instance metadata service. */
async function managedIdentity(
  { url = new URL("http://169.254.169.254"), identity }: CloudAuth,
  signal: AbortSignal,
): Promise<Pick<CloudToken, "token">> {
  const at = new URL("/metadata/identity/oauth2/token", url);
  at.searchParams.set("api-version", "2018-02-01");
  at.searchParams.set("resource", "https://containerregistry.azure.net/");
  if (identity !== undefined) at.searchParams.set("client_id", identity);
  const { access_token: token } = await metadata(at, { metadata: "true" }, signal);
  return { token };
}

/** Seconds a JSON Web Token is good for from its making (RFC 7519, sections 4.1.4 and 4.1.6); it is not verified. */
function lifeOf(token: string): number {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    const life = Number(claims.exp) - Number(claims.iat);
    return life > 0 ? life : usualRefreshLife;
  } catch {
    return usualRefreshLife;
  }
}

// ---- common ---------------------------------------------------------------------------------------------------------

function exchange({ auth, proxy, clock }: CloudOptions, signal: AbortSignal): ExchangeOptions {
  return { environment: auth.environment, proxy, clock, signal };
}

/** Asks a metadata service: on this machine or its link, so never through a proxy. */
async function metadata(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Fields> {
  const { statusCode: status, body } = await request(url, {
    headers: { ...headers, accept: "application/json" },
    signal,
  });
  body.on("error", () => {});
  return readJson("the metadata service", { status, body: await textOf(body) });
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  let left = maxAnswer;
  const bounded = async function* () {
    for await (const chunk of body) {
      left -= chunk.length;
      if (left < 0) throw new SourceFailure("failed: an answer has more than 64 KiB");
      yield chunk;
    }
  };
  return await text(bounded());
}

function readJson(who: string, { status, body }: SmallAnswer): Fields {
  if (status !== 200) throw new SourceFailure(`failed: ${who} answered with status ${status}`);
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null) return value as Fields;
  } catch {
    // Reported below; the parser's message would quote the answer.
  }
  throw new SourceFailure(`failed: ${who} sent something else than JSON`);
}

function credentials(username: string | undefined, secret: unknown): Credentials {
  if (username === undefined || typeof secret !== "string" || !usableSecret.test(secret))
    throw new SourceFailure("failed: it gave no token that can be used");
  return new Credentials(username, secret);
}
