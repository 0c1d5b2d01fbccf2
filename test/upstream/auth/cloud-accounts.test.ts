// The accounts clouds give, from servers that answer as theirs do.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import type { UpstreamAuth, UpstreamConfig } from "../../../src/config/config.ts";
import { connectUpstream, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startProxy } from "../../fixtures/scripted-proxy.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { image } from "../../fixtures/token-upstream.ts";

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

type Reply =
  | { readonly status?: number; readonly headers?: Record<string, string>; readonly json?: unknown }
  | "hang up";

/** A server that answers what `answer` says, and keeps what it was asked. */
async function startServer(t: Test, answer: (asked: Asked) => Reply) {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const { method = "", url: path = "", headers } = request;
    const one = { method, path, headers, body: await text(request).catch(() => "") };
    asked.push(one);
    const reply = answer(one);
    if (reply === "hang up") return void request.socket.destroy();
    response.writeHead(reply.status ?? 200, { "content-type": "application/json", ...reply.headers });
    response.end(JSON.stringify(reply.json ?? {}));
    return undefined;
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { asked, url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`) };
}

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
  auth: Omit<UpstreamAuth & { kind: "cloud" }, "kind" | "identity">,
  username: string,
  more: Partial<UpstreamConfig> = {},
) {
  const clock = new ManualClock();
  const registry = await startUpstream(t, { username });
  registry.addImage(repository, "1", image);
  const connected = connectUpstream(
    t,
    registry.url,
    { auth: { kind: "cloud", identity: undefined, ...auth }, ...more },
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
    const api = await startServer(t, () => {
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

t.test("ecr's API is asked through the upstream's proxy, and the metadata services are not", async (t) => {
  withEnvironment(t, aws);
  const authorizationToken = Buffer.from("AWS:token").toString("base64");
  const api = await startServer(t, () => ({
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
  const metadata = await startServer(t, ({ headers }) =>
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

t.test("azure: the managed identity's token is exchanged at the registry for a refresh token", async (t) => {
  const claims = Buffer.from(JSON.stringify({ iat: 1_000, exp: 1_000 + 3 * 3_600 })).toString("base64url");
  const refresh = `e30.${claims}.c2ln`;
  const imds = await startServer(t, ({ headers }) =>
    headers.metadata === "true"
      ? { json: { access_token: "aad-token", expires_in: "86399" } }
      : { status: 400 },
  );
  const good = `Basic ${btoa(`00000000-0000-0000-0000-000000000000:${refresh}`)}`;
  const manifest = image.manifest.toString();
  const registry = await startServer(t, ({ path, headers, body }): Reply => {
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
  const clock = new ManualClock();
  const auth = { kind: "cloud", cloud: "azure", identity: "0aa1-client", url: imds.url } as const;
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

t.test(
  "a cloud that gives nothing is an error of the account, and nothing it said is in the message",
  async (t) => {
    withEnvironment(t, aws);
    const answers: Record<string, Reply> = {
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
        const api = await startServer(t, () => answer);
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
