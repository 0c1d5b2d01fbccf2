// The exchange with a token server, and what it does wrong.
import type { lookup } from "node:dns";
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../../src/config/config.ts";
import type { Repository } from "../../../src/oci/name.ts";
import type { UpstreamError } from "../../../src/ports/upstream.ts";
import { createAuthorizer } from "../../../src/upstream/auth/authorization.ts";
import { repository, upstreamConfig, upstreamError } from "../../fixtures/connected-upstream.ts";
import { startRawUpstream } from "../../fixtures/raw-upstream.ts";
import { startTokenServer, type TokenServerOptions } from "../../fixtures/token-server.ts";
import type { Fault } from "../../fixtures/upstream-fault.ts";

const basic = `Basic ${Buffer.from("ci:s3cret").toString("base64")}`;

/** An authorizer, of an upstream that is never asked, and has just been challenged with `realm`. */
async function challenged(t: Test, realm: URL, changes: Partial<UpstreamConfig> = {}) {
  const url = new URL("http://registry.example.com");
  const config = upstreamConfig(url, { tokenRealms: [realm.host], ...changes });
  const authorizer = createAuthorizer(config, () => {}, Date.now);
  t.teardown(() => authorizer.close());
  const challenge = () =>
    authorizer.refused({ repository }, [`Bearer realm="${realm}",service="s"`], undefined);
  await challenge();
  const header = (name: string = repository) => authorizer.header({ repository: name as Repository });
  return { challenge, header };
}

async function setUp(t: Test, options: TokenServerOptions = {}, changes: Partial<UpstreamConfig> = {}) {
  const tokens = await startTokenServer(t, options);
  return { tokens, ...(await challenged(t, tokens.realm, changes)) };
}

t.test("a token is asked for by GET", async (t) => {
  const { tokens, header } = await setUp(t);
  t.match(await header(), /^Bearer [\w-]+$/);
  t.match(tokens.requests, [{ method: "GET", path: "/token", authorization: basic }]);
});

for (const unserved of [404, 405] as const) {
  t.test(`a token server that serves only POST, and answers GET with ${unserved}`, async (t) => {
    const { tokens, header } = await setUp(t, { methods: ["POST"], unserved });
    t.match(await header(), /^Bearer /);
    t.match(
      tokens.requests.map(({ method }) => method),
      ["GET", "POST"],
    );
    const [, post] = tokens.requests;
    t.equal(post?.authorization, undefined);
    t.same(Object.fromEntries(post?.fields ?? []), {
      grant_type: "password",
      username: "ci",
      password: "s3cret",
      client_id: "entrepot",
      service: "s",
      scope: "repository:team/app:pull",
    });
  });
}

t.test("what serves only POST is not asked by GET again, until that has changed", async (t) => {
  const { tokens, challenge, header } = await setUp(t);
  let served = "POST";
  tokens.fault = ({ method }) => (method === served ? undefined : { status: 405 });
  const methods = async (name: string) => {
    tokens.requests.length = 0;
    await header(name).catch((error: unknown) => t.match(error, { code: "protocol", status: 405 }));
    return tokens.requests.map(({ method }) => method);
  };
  t.same(await methods("a"), ["GET", "POST"]);
  t.same(await methods("b"), ["POST"]);
  served = "GET";
  t.same(await methods("c"), ["POST"], "which fails once");
  await challenge();
  t.same(await methods("d"), ["GET"]);
});

t.test("without an account there is nothing to POST", async (t) => {
  const { tokens, header } = await setUp(t, { methods: ["POST"] }, { auth: { kind: "none" } });
  t.match(await upstreamError(header()), { code: "protocol", status: 405 });
  t.equal(tokens.requests.length, 1);
});

t.test("what a token server refuses with means the same as from upstream", async (t) => {
  for (const [fault, expected] of [
    [{ status: 400 }, { code: "auth", status: 400 }],
    [{ status: 401 }, { code: "auth", status: 401 }],
    [{ status: 403 }, { code: "auth", status: 403 }],
    [
      { status: 429, headers: { "retry-after": "17" } },
      { code: "rate_limited", status: 429, retryAfter: 17 },
    ],
    [{ status: 500 }, { code: "server_error", status: 500 }],
    [{ status: 503 }, { code: "server_error", status: 503 }],
    [{ status: 204 }, { code: "protocol", status: 204 }],
    [{ status: 418 }, { code: "protocol", status: 418 }],
    [{ html: true }, { code: "protocol", status: 200 }],
    [{ gzip: true }, { code: "protocol" }],
    [{ body: "x".repeat(1024 * 1024) }, { code: "too_large" }],
    [{ reset: true }, { code: "unreachable" }],
    [{ cutAfter: 10 }, { code: "truncated" }],
  ] satisfies [Fault, object][]) {
    const { tokens, header } = await setUp(t);
    tokens.fault = () => fault;
    const error = await upstreamError(header());
    t.match(error, expected, JSON.stringify(fault).slice(0, 60));
    t.match(error.message, /^upstream main: its token server 127\.0\.0\.1:\d+ /);
    t.equal(tokens.requests.filter(({ fields }) => fields.has("scope")).length, 1);
  }
});

t.test("without an account a refusal says so", async (t) => {
  const { tokens, header } = await setUp(t, {}, { auth: { kind: "none" } });
  tokens.fault = () => ({ status: 401 });
  t.match(await upstreamError(header()), { code: "auth", message: /wants an account/ });
});

t.test("the waits for a token server are upstream's", async (t) => {
  const { tokens, header } = await setUp(t, {}, { firstByteTimeout: 100, idleTimeout: 100 });
  tokens.fault = () => ({ hang: true });
  t.match(await upstreamError(header()), { code: "timeout" });
  const slow = await setUp(t, {}, { idleTimeout: 100 });
  slow.tokens.fault = () => ({ stallAfter: 5 });
  t.match(await upstreamError(slow.header()), { code: "timeout" });
  const trickling = await setUp(t, {}, { idleTimeout: 60 });
  trickling.tokens.fault = () => ({ throttle: 100 });
  t.match(await upstreamError(trickling.header()), { code: "timeout" }, "for the whole body too");
});

t.test("a body of 1 MiB is not read to its end", async (t) => {
  const { tokens, header } = await setUp(t);
  tokens.fault = () => ({ body: "x".repeat(1024 * 1024), throttle: 4 * 1024 * 1024 });
  await upstreamError(header());
  await tokens.until(() => tokens.openSockets === 0);
  t.pass("the connection was closed");
});

t.test("redirects on the same origin are followed, with the account", async (t) => {
  const { tokens, header } = await setUp(t);
  tokens.fault = ({ path }) =>
    path === "/token" ? { status: 307, headers: { location: "/moved?x=y" } } : undefined;
  t.match(await header(), /^Bearer /);
  t.match(tokens.requests, [{ path: "/token" }, { path: "/moved", authorization: basic }]);
});

t.test("redirects that go round in circles are refused", async (t) => {
  const { tokens, header } = await setUp(t);
  tokens.fault = () => ({ status: 307, headers: { location: "/token" } });
  t.match(await upstreamError(header()), { code: "protocol", message: /redirected too often/ });
  t.equal(tokens.requests.length, 6);
});

t.test("a redirect to another origin gets no request, be it another realm that is allowed", async (t) => {
  const elsewhere = await startTokenServer(t);
  const cases = [
    [String(elsewhere.realm), "redirect_refused"],
    ["", "protocol"],
    [undefined, "protocol"],
  ] as const;
  for (const [location, code] of cases) {
    const tokens = await startTokenServer(t);
    const tokenRealms = [tokens.realm.host, elsewhere.realm.host];
    const { header } = await challenged(t, tokens.realm, { tokenRealms });
    tokens.fault = () => ({ status: 302, headers: { location } });
    t.match(await upstreamError(header()), { code }, String(location));
  }
  t.equal(elsewhere.requests.length, 0);
});

t.test("a password in a form is not redirected anywhere", async (t) => {
  const { tokens, header } = await setUp(t, { methods: ["POST"] });
  tokens.fault = ({ method }) =>
    method === "POST" ? { status: 307, headers: { location: "/token" } } : undefined;
  t.match(await upstreamError(header()), { code: "protocol", status: 307 });
  t.equal(tokens.requests.length, 2);
});

t.test("a realm over http of an https upstream gets no request, though it is on the list", async (t) => {
  const tokens = await startTokenServer(t);
  const url = new URL("https://registry.example.com");
  await t.rejects(challenged(t, tokens.realm, { url, tokenRealms: [tokens.realm.host] }), {
    code: "auth",
    message: /over plain http/,
  });
  t.equal(tokens.requests.length, 0);
});

t.test("a kept connection that the token server closes at the moment of use is no failure", async (t) => {
  const body = '{"token":"t","expires_in":1}';
  let answered = 0;
  const raw = await startRawUpstream(t, () =>
    ++answered === 2 ? ["end"] : [`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`],
  );
  const url = new URL("http://registry.example.com");
  const config = upstreamConfig(url, { tokenRealms: [raw.url.host], maxConnections: 1 });
  const authorizer = createAuthorizer(config, () => {}, Date.now);
  t.teardown(() => authorizer.close());
  for (const name of ["a", "b", "c"] as Repository[]) {
    await authorizer.refused({ repository: name }, [`Bearer realm="${raw.url}"`], undefined);
    t.equal(await authorizer.header({ repository: name }), "Bearer t");
  }
  t.equal(raw.heads.length, 4);
});

t.test("a token server on upstream's domain, at an address no download may be redirected to", async (t) => {
  const tokens = await startTokenServer(t, {});
  const realm = `https://auth.example.com:${tokens.realm.port}/token`;
  const resolve = ((_: string, __: unknown, callback: (...found: unknown[]) => void) =>
    callback(null, [{ address: "127.0.0.1", family: 4 }])) as unknown as typeof lookup;
  const ask = async (changes: Partial<UpstreamConfig>): Promise<UpstreamError> => {
    const config = upstreamConfig(new URL("https://registry.example.com"), changes);
    const authorizer = createAuthorizer(config, () => {}, Date.now, resolve);
    t.teardown(() => authorizer.close());
    await authorizer.refused({ repository }, [`Bearer realm="${realm}"`], undefined);
    return await upstreamError(authorizer.header({ repository }));
  };
  const before = tokens.connections;
  t.match(await ask({}), {
    code: "redirect_refused",
    message: /wants tokens from auth\.example\.com, .* listed under tokenRealms/,
  });
  t.equal(tokens.connections, before, "nothing was sent there");
  for (const changes of [
    { tokenRealms: [`auth.example.com:${tokens.realm.port}`] },
    { redirectsTo: ["127.0.0.0/8"] },
  ])
    t.not((await ask(changes)).code, "redirect_refused", "connected to, where no TLS is spoken");
  t.equal(tokens.connections, before + 2);
});
