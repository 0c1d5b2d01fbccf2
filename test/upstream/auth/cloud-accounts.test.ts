// The accounts clouds give, from servers that answer as theirs do.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import type { CloudEnvironment, UpstreamAuth, UpstreamConfig } from "../../../src/config/config.ts";
import { connectUpstream, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import { type JsonReply, startJsonServer } from "../../fixtures/json-server.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startProxy } from "../../fixtures/scripted-proxy.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { image } from "../../fixtures/token-upstream.ts";

/** Sets variables of the environment for one test: the AWS SDK looks there first. */
function withEnvironment(t: Test, variables: Record<string, string>): void {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  t.teardown(() => {
    for (const name of Object.keys(variables))
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
  });
}

const aws = {
  AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
  AWS_SECRET_ACCESS_KEY: "s3cret-key",
  AWS_REGION: "eu-central-1",
  AWS_EC2_METADATA_DISABLED: "true",
};

/** A registry whose password is `secret(n)`, of the n-th account the cloud gave. */
async function setUp(
  t: Test,
  auth: Pick<UpstreamAuth & { kind: "cloud" }, "cloud" | "url"> & { environment?: CloudEnvironment },
  username: string,
  more: Partial<UpstreamConfig> = {},
) {
  const clock = new ManualClock();
  const registry = await startUpstream(t, { username });
  registry.addImage(repository, "1", image);
  const connected = connectUpstream(
    t,
    registry.url,
    { auth: { kind: "cloud", identity: undefined, environment: {}, ...auth }, ...more },
    clock.read,
  );
  const head = () => connected.upstream.headManifest(repository, tagged("1"));
  return { clock, registry, head, ...connected };
}

t.test(
  "ecr: GetAuthorizationToken with the SDK's own credentials, renewed before its twelve hours end",
  async (t) => {
    withEnvironment(t, aws);
    let given = 0;
    let clock: ManualClock | undefined;
    const api = await startJsonServer(t, () => {
      given++;
      const token = Buffer.from(`AWS:token-${given}`).toString("base64");
      const expiresAt = ((clock?.now ?? 0) + 12 * 3_600_000) / 1000;
      return {
        headers: { "content-type": "application/x-amz-json-1.1" },
        json: { authorizationData: [{ authorizationToken: token, expiresAt }] },
      };
    });
    const given1 = await setUp(t, { cloud: "ecr", url: api.url }, "AWS");
    const { registry, head } = given1;
    clock = given1.clock;
    registry.password = "token-1";
    t.match(await head(), { kind: "found" });
    t.match(await head(), { kind: "found" });
    t.equal(api.asked.length, 1);
    t.match(api.asked[0], {
      method: "POST",
      headers: {
        "x-amz-target": /GetAuthorizationToken$/,
        authorization: /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d+\/eu-central-1\/ecr\//,
      },
    });
    registry.password = "token-2";
    registry.fault(({ headers, kind }) => {
      const good = `Basic ${btoa(`AWS:${registry.password}`)}`;
      if (headers.authorization === good) return undefined;
      return { status: 403, headers: {}, body: kind === "ping" ? "" : '{"errors":[{"code":"DENIED"}]}' };
    });
    t.match(await head(), { kind: "found" }, "403 makes it ask again");
    t.equal(api.asked.length, 2);
    clock.advance(9 * 3_600_000);
    t.match(await head(), { kind: "found" }, "with the one in hand, while a new one comes");
    registry.password = "token-3";
    t.match(await head(), { kind: "found" });
    t.equal(api.asked.length, 3);
  },
);

t.test("ecr: the public registry's account is of an API of its own", async (t) => {
  withEnvironment(t, { ...aws, AWS_REGION: "eu-central-1" });
  const clock = new ManualClock();
  const authorizationToken = Buffer.from("AWS:public-token").toString("base64");
  const api = await startJsonServer(t, () => {
    const expiresAt = (clock.now + 12 * 3_600_000) / 1000;
    return { json: { authorizationData: { authorizationToken, expiresAt } } };
  });
  for (const host of ["public.ecr.aws", "ecr-public.aws.com"]) {
    const registry = await startUpstream(t, { path: "", username: "AWS", password: "public-token" });
    registry.addImage(repository, "1", image);
    const proxy = await startProxy(t);
    proxy.ports.set(`${host}:80`, Number(registry.url.port));
    const server = proxy.server("http");
    const auth = { kind: "cloud", cloud: "ecr", identity: undefined, url: api.url, environment: {} } as const;
    const { upstream } = connectUpstream(
      t,
      new URL(`http://${host}`),
      { auth, proxy: { http: server, https: server, noProxy: [] } },
      clock.read,
    );
    t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
    clock.advance(8 * 3_600_000);
    t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
    t.equal(api.asked.length, 1, "it is known to be good for twelve hours");
    t.match(api.asked.shift(), {
      headers: {
        "x-amz-target": "SpencerFrontendService.GetAuthorizationToken",
        authorization: /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d+\/us-east-1\/ecr-public\//,
      },
    });
  }
});

t.test("ecr's API is asked through the upstream's proxy, and the metadata services are not", async (t) => {
  withEnvironment(t, aws);
  const authorizationToken = Buffer.from("AWS:token").toString("base64");
  const api = await startJsonServer(t, () => ({
    json: { authorizationData: [{ authorizationToken }], access_token: "token", expires_in: 3_599 },
  }));
  for (const scheme of ["http", "socks5"] as const) {
    const proxy = await startProxy(t);
    const place = "api.ecr.invalid:9000";
    proxy.ports.set(place, Number(api.url.port));
    const server = proxy.server(scheme);
    const over = { proxy: { http: server, https: server, noProxy: [] } };
    const ecr = await setUp(t, { cloud: "ecr", url: new URL(`http://${place}`) }, "AWS", over);
    ecr.registry.password = "token";
    t.match(await ecr.head(), { kind: "found" });
    t.same(
      proxy.requests.map(({ to }) => to),
      [place],
    );
    const gcp = await setUp(t, { cloud: "gcp", url: api.url }, "oauth2accesstoken", over);
    gcp.registry.password = "token";
    t.match(await gcp.head(), { kind: "found" });
    t.equal(proxy.requests.length, 1);
  }
});

t.test("gcp: the metadata server's access token of the service account", async (t) => {
  const metadata = await startJsonServer(t, ({ headers }) =>
    headers["metadata-flavor"] === "Google"
      ? { json: { access_token: "ya29.token", expires_in: 3599, token_type: "Bearer" } }
      : { status: 403 },
  );
  const { registry, head, clock } = await setUp(t, { cloud: "gcp", url: metadata.url }, "oauth2accesstoken");
  registry.password = "ya29.token";
  t.match(await head(), { kind: "found" });
  clock.advance(2_600_000);
  t.match(await head(), { kind: "found" });
  t.match(
    metadata.asked.map(({ path }) => path),
    ["/computeMetadata/v1/instance/service-accounts/default/token"],
  );
  clock.advance(100_000);
  t.match(await head(), { kind: "found" });
  t.equal(metadata.asked.length, 2, "renewed in the last quarter of its life");
});

/** A registry of Azure's, which gives `refresh` for `aad-token`, and access for that. */
async function startAzureRegistry(t: Test, refresh: string) {
  const good = `Basic ${btoa(`00000000-0000-0000-0000-000000000000:${refresh}`)}`;
  const manifest = image.manifest.toString();
  return await startJsonServer(t, ({ path, headers, body }): JsonReply => {
    const host = String(headers.host);
    if (path === "/oauth2/exchange")
      return new URLSearchParams(body).get("access_token") === "aad-token"
        ? { json: { refresh_token: refresh } }
        : { status: 401 };
    if (path.startsWith("/oauth2/token"))
      return headers.authorization === good ? { json: { access_token: "access" } } : { status: 401 };
    if (headers.authorization === "Bearer access")
      return { json: JSON.parse(manifest), headers: { "content-type": image.mediaType } };
    const challenge = `Bearer realm="http://${host}/oauth2/token",service="${host}"`;
    return { status: 401, headers: { "www-authenticate": challenge } };
  });
}

t.test("azure: the managed identity's token is exchanged at the registry for a refresh token", async (t) => {
  const claims = Buffer.from(JSON.stringify({ iat: 1_000, exp: 1_000 + 3 * 3_600 })).toString("base64url");
  const imds = await startJsonServer(t, ({ headers }) =>
    headers.metadata === "true"
      ? { json: { access_token: "aad-token", expires_in: "86399" } }
      : { status: 400 },
  );
  const registry = await startAzureRegistry(t, `e30.${claims}.c2ln`);
  const clock = new ManualClock();
  const auth = {
    kind: "cloud",
    cloud: "azure",
    identity: "0aa1-client",
    url: imds.url,
    environment: {},
  } as const;
  const { upstream } = connectUpstream(t, registry.url, { auth }, clock.read);
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  const [token] = imds.asked;
  const query = new URL(String(token?.path), "http://imds").searchParams;
  t.match(Object.fromEntries(query), {
    "api-version": "2018-02-01",
    resource: "https://containerregistry.azure.net/",
    client_id: "0aa1-client",
  });
  const exchange = registry.asked.find(({ path }) => path === "/oauth2/exchange");
  t.same(Object.fromEntries(new URLSearchParams(exchange?.body)), {
    grant_type: "access_token",
    service: "127.0.0.1",
    access_token: "aad-token",
  });
  clock.advance(2 * 3_600_000);
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  t.equal(imds.asked.length, 1, "three hours by its own claims");
  clock.advance(0.5 * 3_600_000);
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  t.equal(imds.asked.length, 2);
});

t.test("azure: a pod's token is exchanged for one of Azure's, and that at the registry", async (t) => {
  const directory = t.testdir({ token: "pod-token" });
  const login = await startJsonServer(t, ({ body }) =>
    new URLSearchParams(body).get("client_assertion") === "pod-token"
      ? { json: { access_token: "aad-token", expires_in: 3_599 } }
      : { status: 401 },
  );
  const registry = await startAzureRegistry(t, "refresh");
  const environment = {
    AZURE_FEDERATED_TOKEN_FILE: join(directory, "token"),
    AZURE_TENANT_ID: "tenant",
    AZURE_CLIENT_ID: "client",
    AZURE_AUTHORITY_HOST: login.url.href,
  };
  const auth = { kind: "cloud", cloud: "azure", identity: undefined, url: undefined, environment } as const;
  const { upstream } = connectUpstream(t, registry.url, { auth });
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  t.equal(login.asked.length, 1);
});

t.test("gcp: a federated token, and a key, are accounts of the registry", async (t) => {
  const directory = t.testdir({ token: "pod-token", "key.json": '{\n"type": "service_account"\n}\n' });
  const sts = await startJsonServer(t, () => ({ json: { access_token: "federated", expires_in: 3_599 } }));
  const external = join(directory, "external.json");
  const source = { file: join(directory, "token") };
  const type = "external_account";
  await writeFile(external, JSON.stringify({ type, token_url: sts.url.href, credential_source: source }));
  for (const [file, username, password] of [
    [external, "oauth2accesstoken", "federated"],
    [join(directory, "key.json"), "_json_key", '{\n"type": "service_account"\n}\n'],
  ] as const) {
    const environment = { GOOGLE_APPLICATION_CREDENTIALS: file };
    const { registry, head } = await setUp(t, { cloud: "gcp", url: undefined, environment }, username);
    registry.password = password;
    t.match(await head(), { kind: "found" }, username);
  }
});

t.test(
  "a cloud that gives nothing is an error of the account, and nothing it said is in the message",
  async (t) => {
    withEnvironment(t, aws);
    const answers: Record<string, JsonReply> = {
      "an error": { status: 400, json: { __type: "AccessDeniedException", message: "s3cret" } },
      "no token": { json: { authorizationData: [], s3cret: true } },
      "a token that is none": {
        json: { access_token: "s3c ret", authorizationData: [{ authorizationToken: "s3cret" }] },
      },
      "too much": { json: { access_token: "s3cret".repeat(20_000) } },
      "no answer": "hang up",
    };
    for (const cloud of ["ecr", "gcp", "azure"] as const)
      for (const [name, answer] of Object.entries(answers)) {
        const api = await startJsonServer(t, () => answer);
        const { head, registry, notices } = await setUp(t, { cloud, url: api.url }, "x");
        const error = await upstreamError(head());
        t.match(
          error,
          { code: "auth", message: new RegExp(`^upstream main: its credential source ${cloud} failed`) },
          `${cloud}: ${name}`,
        );
        t.equal(registry.count(), 0, "upstream is not asked without the account");
        t.notMatch(inspect([error, notices], { depth: 10 }), /s3cret|s3c ret/);
      }
  },
);
