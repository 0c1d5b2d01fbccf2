// Tokens of Google and Azure for programs outside of their machines, from servers that answer as theirs do.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { CloudEnvironment } from "../../../src/config/config.ts";
import {
  azureWorkload,
  type ExchangeOptions,
  googleWorkload,
} from "../../../src/upstream/auth/workload-identity.ts";
import { type JsonQuestion, type JsonReply, startJsonServer } from "../../fixtures/json-server.ts";
import { startProxy } from "../../fixtures/scripted-proxy.ts";

const now = Date.UTC(2026, 0, 1);

function options(environment: CloudEnvironment, more: Partial<ExchangeOptions> = {}): ExchangeOptions {
  const signal = new AbortController().signal;
  return { environment, proxy: undefined, clock: () => now, signal, ...more };
}

const formOf = ({ body }: JsonQuestion) => Object.fromEntries(new URLSearchParams(body));

// ---- Google ---------------------------------------------------------------------------------------------------------

/** The file `gcloud iam workload-identity-pools create-cred-config` writes, and what exchanges the tokens. */
async function startGoogle(t: Test, changes: (origin: string) => Record<string, unknown> = () => ({})) {
  const directory = t.testdir({ token: "pod-token-1\n" });
  const google = await startJsonServer(t, ({ path }) => {
    if (path === "/v1/token") return { json: { access_token: "federated", expires_in: 3_599 } };
    if (path.startsWith("/subject")) return { json: { value: "pod-token-of-a-url" } };
    return { json: { accessToken: "ya29.of-the-account", expireTime: "2026-01-01T00:30:00Z" } };
  });
  const file = {
    type: "external_account",
    audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s",
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    token_url: `${google.url.origin}/v1/token`,
    credential_source: { file: join(directory, "token") },
    ...changes(google.url.origin),
  };
  const path = join(directory, "config.json");
  await writeFile(path, JSON.stringify(file));
  return { google, directory, options: options({ GOOGLE_APPLICATION_CREDENTIALS: path }) };
}

t.test("google: the platform's token is exchanged, and read again each time", async (t) => {
  const { google, directory, options } = await startGoogle(t);
  t.same(await googleWorkload(options), { token: "federated", life: 3_599_000 });
  const [asked] = google.asked;
  t.match(asked, {
    method: "POST",
    path: "/v1/token",
    headers: { "content-type": "application/x-www-form-urlencoded" },
  });
  t.same(formOf(asked as JsonQuestion), {
    audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s",
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    requested_token_type: "urn:ietf:params:oauth:token-type:access_token",
    scope: "https://www.googleapis.com/auth/cloud-platform",
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    subject_token: "pod-token-1",
  });
  await writeFile(join(directory, "token"), "pod-token-2");
  await googleWorkload(options);
  t.equal(formOf(google.asked[1] as JsonQuestion).subject_token, "pod-token-2");
});

t.test("google: a service account that it may stand for", async (t) => {
  const at = "/v1/projects/-/serviceAccounts/mirror@project.iam.gserviceaccount.com:generateAccessToken";
  const { google, options } = await startGoogle(t, (origin) => ({
    service_account_impersonation_url: `${origin}${at}`,
  }));
  t.same(await googleWorkload(options), { token: "ya29.of-the-account", life: 30 * 60_000 });
  t.match(google.asked[1], {
    method: "POST",
    path: at,
    headers: { authorization: "Bearer federated", "content-type": "application/json" },
    body: '{"scope":["https://www.googleapis.com/auth/cloud-platform"]}',
  });
});

t.test("google: the platform's token from a url, in a field of JSON", async (t) => {
  const { google, options } = await startGoogle(t, (origin) => ({
    credential_source: {
      url: `${origin}/subject?resource=api`,
      headers: { Metadata: "True" },
      format: { type: "json", subject_token_field_name: "value" },
    },
  }));
  await googleWorkload(options);
  t.match(google.asked[0], { method: "GET", path: "/subject?resource=api", headers: { metadata: "True" } });
  t.equal(formOf(google.asked[1] as JsonQuestion).subject_token, "pod-token-of-a-url");
});

t.test(
  "google: the key of a service account is a password as it is; without the variable nothing is asked",
  async (t) => {
    const text = '{\n  "type": "service_account",\n  "private_key": "s3cret"\n}\n';
    const directory = t.testdir({ "key.json": text });
    const key = join(directory, "key.json");
    t.same(await googleWorkload(options({ GOOGLE_APPLICATION_CREDENTIALS: key })), { key: text });
    t.equal(await googleWorkload(options({})), undefined);
  },
);

// ---- Azure ----------------------------------------------------------------------------------------------------------

async function startAzure(
  t: Test,
  answer: JsonReply = { json: { access_token: "aad", expires_in: 86_399 } },
) {
  const directory = t.testdir({ token: "pod-token\n" });
  const azure = await startJsonServer(t, () => answer);
  const environment = {
    AZURE_FEDERATED_TOKEN_FILE: join(directory, "token"),
    AZURE_TENANT_ID: "0123-tenant",
    AZURE_CLIENT_ID: "4567-client",
    AZURE_AUTHORITY_HOST: azure.url.href,
  };
  return { azure, environment };
}

t.test("azure: the platform's token is the assertion of an application", async (t) => {
  const { azure, environment } = await startAzure(t);
  t.same(await azureWorkload(undefined, options(environment)), { token: "aad", life: 86_399_000 });
  const [asked] = azure.asked;
  t.match(asked, { method: "POST", path: "/0123-tenant/oauth2/v2.0/token" });
  t.same(formOf(asked as JsonQuestion), {
    client_id: "4567-client",
    grant_type: "client_credentials",
    scope: "https://containerregistry.azure.net/.default",
    client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    client_assertion: "pod-token",
  });
  await azureWorkload("89ab-other", options(environment));
  t.equal(formOf(azure.asked[1] as JsonQuestion).client_id, "89ab-other", "as it is configured");
  t.equal(await azureWorkload("89ab-other", options({ AZURE_TENANT_ID: "0123-tenant" })), undefined);
});

// ---- both -----------------------------------------------------------------------------------------------------------

t.test("they are asked through the upstream's proxy, and what is on this machine is not", async (t) => {
  const proxy = await startProxy(t);
  const server = proxy.server();
  const through = { proxy: { http: server, https: server, noProxy: [] } };
  const { environment } = await startAzure(t);
  await azureWorkload(undefined, options(environment, through));
  t.same(proxy.requests, []);
  const far = { ...environment, AZURE_AUTHORITY_HOST: "https://login.invalid" };
  await t.rejects(azureWorkload(undefined, options(far, through)), { message: /cannot be asked/ });
  t.match(proxy.requests, [{ by: "connect", to: "login.invalid:443" }]);
});

t.test("why there is no token, without what was sent or came", async (t) => {
  const directory = t.testdir({
    token: "s3cret",
    "empty.json": "{}",
    "no.json": "s3cret",
    "long.json": "s3cret".repeat(20_000),
  });
  const google = (file: string) =>
    googleWorkload(options({ GOOGLE_APPLICATION_CREDENTIALS: join(directory, file) }));
  const azure = async (change: CloudEnvironment, answer?: JsonReply) =>
    azureWorkload(undefined, options({ ...(await startAzure(t, answer)).environment, ...change }));
  const changed = async (changes: Record<string, unknown>) =>
    googleWorkload((await startGoogle(t, () => changes)).options);
  const cases: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [
      () => google("absent.json"),
      /^failed: the file of GOOGLE_APPLICATION_CREDENTIALS cannot be read \(ENOENT\)$/,
    ],
    [() => google("empty.json"), /neither the key of a service account nor an external account$/],
    [() => google("no.json"), /is no JSON$/],
    [() => google("long.json"), /has more than 64 KiB$/],
    [() => changed({ token_url: "file:///s3cret" }), /^failed: token_url is no http or https URL$/],
    [() => changed({ credential_source: { environment_id: "aws1" } }), /neither a file nor a url$/],
    [() => azure({ AZURE_TENANT_ID: "" }), /set without AZURE_TENANT_ID or AZURE_CLIENT_ID$/],
    [
      () => azure({ AZURE_AUTHORITY_HOST: "login" }),
      /^failed: AZURE_AUTHORITY_HOST is no http or https URL$/,
    ],
    [
      () => azure({}, { status: 401, json: { error_description: "s3cret" } }),
      /\/oauth2\/v2\.0\/token answers 401$/,
    ],
    [() => azure({}, "hang up"), /cannot be asked \(ECONNRESET\)$/],
  ];
  for (const [asked, says] of cases) {
    const error = await asked().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    t.match(error, { message: says });
    t.notMatch(String(error), /s3cret/);
  }
});
