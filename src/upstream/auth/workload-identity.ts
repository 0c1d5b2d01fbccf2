// Accounts that Google and Azure give to programs outside of their own machines, such as pods: what the platform has signed
// about this program is exchanged for a token of the cloud, so that no password has to be kept (RFC 8693; RFC 7523, section 2.2).
import { open } from "node:fs/promises";
import type { CloudEnvironment, ProxyConfig } from "../../config/config.ts";
import { type DocumentOptions, fetchJson, fetchText } from "../../outbound/json-document.ts";
import { readAtMost } from "../../ports/bounded-file.ts";
import type { Clock } from "../../ports/clock.ts";
import { userAgent } from "../../version.ts";
import { SourceFailure, secondsOf } from "./renewed-credentials.ts";

/** Largest file read, in bytes. */
const largestFile = 64 * 1024;
/** Milliseconds for one question; all of them together have the bound of the credential source. */
const questionTimeout = 5_000;
/** What a token of Google's has to be for. */
const googleScope = "https://www.googleapis.com/auth/cloud-platform";
/** Azure's name for what a token for one of its registries is for. */
const registryScope = "https://containerregistry.azure.net/.default";

export interface ExchangeOptions {
  readonly environment: CloudEnvironment;
  readonly proxy: ProxyConfig | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** As the cloud has sent it. */
export interface CloudToken {
  readonly token: unknown;
  /** In milliseconds from now; NaN or less than 0 when it is not known. */
  readonly life: number;
}

/** Those of an object that was JSON. */
export type Fields = Readonly<Record<string, unknown>>;

// ---- Google ---------------------------------------------------------------------------------------------------------

/**
 * What the file GOOGLE_APPLICATION_CREDENTIALS says: the key of a service account, whose whole text is a password; or where to
 * exchange which token (AIP-4117, "External Account Credentials"). Undefined without the variable. Rejects with SourceFailure.
 */
export async function googleWorkload(
  options: ExchangeOptions,
): Promise<{ readonly key: string } | CloudToken | undefined> {
  const path = options.environment.GOOGLE_APPLICATION_CREDENTIALS;
  if (path === undefined) return undefined;
  const named = "the file of GOOGLE_APPLICATION_CREDENTIALS";
  const text = await readSmall(path, named);
  const file = fieldsOf(text, named);
  if (file.type === "service_account") return { key: text };
  if (file.type !== "external_account")
    throw new SourceFailure(
      `failed: ${named} is neither the key of a service account nor an external account`,
    );
  return await exchangedAtGoogle(file, options);
}

/** The token service's answer to the platform's token, or what a service account it may stand for gets with that. */
async function exchangedAtGoogle(file: Fields, options: ExchangeOptions): Promise<CloudToken> {
  const federated = await ask(urlOf(file.token_url, "token_url"), options, {
    post: new URLSearchParams({
      audience: String(file.audience),
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      requested_token_type: "urn:ietf:params:oauth:token-type:access_token",
      scope: googleScope,
      subject_token_type: String(file.subject_token_type),
      subject_token: await subjectToken(file.credential_source, options),
    }),
  });
  const { service_account_impersonation_url: impersonation } = file;
  if (impersonation === undefined)
    return { token: federated.access_token, life: secondsOf(federated.expires_in) * 1000 };
  const given = await ask(urlOf(impersonation, "service_account_impersonation_url"), options, {
    headers: { authorization: `Bearer ${bearerOf(federated.access_token)}` },
    post: JSON.stringify({ scope: [googleScope] }),
  });
  return { token: given.accessToken, life: Date.parse(String(given.expireTime)) - options.clock() };
}

/** The platform's token, from where the file says it is: a file or a URL, as text or in a field of JSON. */
async function subjectToken(source: unknown, options: ExchangeOptions): Promise<string> {
  const { file, url, headers, format } = Object(source) as Fields;
  let text: string;
  if (typeof file === "string") text = await readSmall(file, "the file of credential_source");
  else if (typeof url === "string") {
    const from = urlOf(url, "credential_source.url");
    const asked = Object.entries(Object(headers) as Fields).map(([name, value]) => [name, String(value)]);
    text = await answered(fetchText(from, { ...outward(from, options), headers: Object.fromEntries(asked) }));
  } else throw new SourceFailure("failed: its credential_source is neither a file nor a url");
  const { type, subject_token_field_name: field } = Object(format) as Fields;
  const token = type === "json" ? fieldsOf(text, "what credential_source gives")[String(field)] : text.trim();
  return bearerOf(token);
}

// ---- Azure ----------------------------------------------------------------------------------------------------------

/**
 * A token for container registries, for the token that AZURE_FEDERATED_TOKEN_FILE has ("Access token request with a federated
 * credential" of the Microsoft identity platform). `client`: the application or identity; left out: that of AZURE_CLIENT_ID.
 * Undefined without the file's variable. Rejects with SourceFailure.
 */
export async function azureWorkload(
  client: string | undefined,
  options: ExchangeOptions,
): Promise<CloudToken | undefined> {
  const {
    AZURE_FEDERATED_TOKEN_FILE: path,
    AZURE_TENANT_ID: tenant,
    AZURE_CLIENT_ID,
    AZURE_AUTHORITY_HOST: authority = "https://login.microsoftonline.com",
  } = options.environment;
  if (path === undefined) return undefined;
  const id = client ?? AZURE_CLIENT_ID;
  if (!tenant || !id)
    throw new SourceFailure(
      "failed: AZURE_FEDERATED_TOKEN_FILE is set without AZURE_TENANT_ID or AZURE_CLIENT_ID",
    );
  const at = new URL(
    `/${encodeURIComponent(tenant)}/oauth2/v2.0/token`,
    urlOf(authority, "AZURE_AUTHORITY_HOST"),
  );
  const assertion = (await readSmall(path, "the file of AZURE_FEDERATED_TOKEN_FILE")).trim();
  const { access_token: token, expires_in: life } = await ask(at, options, {
    post: new URLSearchParams({
      client_id: id,
      grant_type: "client_credentials",
      scope: registryScope,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: bearerOf(assertion),
    }),
  });
  return { token, life: secondsOf(life) * 1000 };
}

// ---- common ---------------------------------------------------------------------------------------------------------

async function ask(
  url: URL,
  options: ExchangeOptions,
  question: Pick<DocumentOptions, "headers" | "post">,
): Promise<Fields> {
  const answer = await answered(fetchJson(url, { ...outward(url, options), ...question }));
  return Object(answer) as Fields;
}

/** Metadata services, which are on this machine or its link, are asked over http, and never through a proxy. */
function outward({ protocol }: URL, { proxy, signal }: ExchangeOptions): DocumentOptions {
  return { proxy: protocol === "https:" ? proxy : undefined, userAgent, timeout: questionTimeout, signal };
}

async function answered<T>(document: Promise<T>): Promise<T> {
  try {
    return await document;
  } catch (error) {
    throw new SourceFailure(`failed: ${(error as Error).message}`);
  }
}

async function readSmall(path: string, named: string): Promise<string> {
  try {
    const file = await open(path);
    try {
      const text = await readAtMost(file, largestFile);
      if (text !== undefined) return text;
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new SourceFailure(`failed: ${named} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  throw new SourceFailure(`failed: ${named} has more than 64 KiB`);
}

function fieldsOf(text: string, named: string): Fields {
  try {
    return Object(JSON.parse(text)) as Fields;
  } catch {
    // The parser's message would quote it.
    throw new SourceFailure(`failed: ${named} is no JSON`);
  }
}

function urlOf(value: unknown, named: string): URL {
  const url = typeof value === "string" ? URL.parse(value) : null;
  if (url?.protocol === "https:" || url?.protocol === "http:") return url;
  throw new SourceFailure(`failed: ${named} is no http or https URL`);
}

/** What can be sent as a token (RFC 6750, section 2.1, and what may stand in a header at all). */
function bearerOf(token: unknown): string {
  if (typeof token === "string" && /^[\x21-\x7e]{1,32768}$/.test(token)) return token;
  throw new SourceFailure("failed: there is no token that can be used");
}
