import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import { checkVersion } from "../../src/upstream/version-check.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { basicAuth, upstreamConfig } from "../fixtures/connected-upstream.ts";
import { type Owner, startUpstream, type UpstreamOptions } from "../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../fixtures/token-server.ts";

const wrong = basicAuth("ci", "wrong");
const none = { kind: "none" } as const;
const trouble = (url: URL | string, changes: Partial<UpstreamConfig> = {}) =>
  checkVersion(upstreamConfig(new URL(url), changes));
const check = async (url: URL | string, changes: Partial<UpstreamConfig> = {}) =>
  (await trouble(url, changes))?.message;

/** A server that answers so, and its URL. */
async function startServer(t: Owner, answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startBearer(t: Owner, options: UpstreamOptions = {}) {
  const tokens = await startTokenServer(t);
  const registry = await startUpstream(t, { ...options, bearer: tokens });
  return { tokens, registry, realms: { tokenRealms: [tokens.realm.host] } };
}

t.test("a registry that takes our password is asked once, and nothing is said", async (t) => {
  const registry = await startUpstream(t);
  t.equal(await check(registry.url), undefined);
  t.match(registry.requests, [{ kind: "ping", status: 200, headers: { authorization: /^Basic / } }]);
});

t.test(
  "one that wants tokens: the account is proved as docker login does it, for no repository",
  async (t) => {
    const { tokens, registry, realms } = await startBearer(t);
    t.equal(await check(registry.url, realms), undefined);
    t.equal(tokens.requests.length, 1);
    t.same(tokens.requests[0]?.fields.getAll("scope"), []);
    t.equal(registry.requests.at(-1)?.status, 200);
  },
);

t.test("without an account nothing is asked for but /v2/", async (t) => {
  const { tokens, registry, realms } = await startBearer(t);
  t.equal(await check(registry.url, { ...realms, auth: none }), undefined);
  t.same(tokens.requests, []);
  t.equal(registry.requests.length, 1);
});

t.test("a password that is refused, by the registry or by its token server", async (t) => {
  const registry = await startUpstream(t);
  t.equal(
    await check(registry.url, { auth: wrong }),
    "upstream main refused our account: check its username and password (status 401)",
  );
  const bearer = await startBearer(t);
  t.match(
    await check(bearer.registry.url, { ...bearer.realms, auth: wrong }),
    /^upstream main: its token server 127\.0\.0\.1:\d+ refused our account \(status 401\)$/,
  );
});

t.test("an account that is locked, in the registry's words; others of its words are not told", async (t) => {
  const answering = (status: number, message: string) =>
    startServer(t, (_, response) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify({ errors: [{ message }] }));
    });
  const blocked = "Blocked due to recurrent login failures";
  for (const status of [401, 403])
    t.match(await trouble(await answering(status, blocked)), {
      code: "auth",
      message: `upstream main refused our account: check its username and password (status ${status}); it says: ${blocked}`,
    });
  t.notMatch(await check(await answering(401, "no such thing")), /no such thing/);
});

t.test("a path that is wrong, where the registry is at the root", async (t) => {
  const registry = await startUpstream(t, { path: "" });
  const { origin } = registry.url;
  t.equal(
    await check(`${origin}/registry`),
    `upstream main: ${origin}/registry/v2/ is not answered by a registry (status 404); a registry is at ${origin}: set its url to that`,
  );
  t.equal(registry.requests.at(-1)?.headers.authorization, undefined, "a guess is not told our password");
});

t.test("a path that is missing", async (t) => {
  for (const [headers, fix] of [
    [
      { server: "Artifactory/7.90.1" },
      ", but by Artifactory: set its url to ORIGIN/artifactory/api/docker/REPOSITORY",
    ],
    [
      { "x-jfrog-version": "Artifactory/7.90.1 79001900" },
      ", but by Artifactory: set its url to ORIGIN/artifactory/api/docker/REPOSITORY",
    ],
    [{ server: "Nexus/3.70.0-01 (OSS)" }, ", but by Nexus: set its url to ORIGIN/repository/REPOSITORY"],
    [{ server: "nginx" }, ""],
  ] as const) {
    const origin = await startServer(t, (_request, response) => response.writeHead(404, headers).end());
    t.equal(
      await check(origin),
      `upstream main: ${origin}/v2/ is not answered by a registry (status 404)${fix.replace("ORIGIN", origin)}`,
    );
  }
});

t.test("a web page, whatever its status", async (t) => {
  for (const status of [200, 401, 404]) {
    const origin = await startServer(t, (_request, response) =>
      response.writeHead(status, { "content-type": "text/html" }).end("<!doctype html>"),
    );
    t.equal(
      await check(origin, { auth: none }),
      `upstream main: ${origin}/v2/ is not answered by a registry (a web page)`,
      `${status}`,
    );
  }
});

t.test("http where https is meant: the server says so by a redirect", async (t) => {
  const origin = await startServer(t, (request, response) =>
    response.writeHead(301, { location: `https://${request.headers.host}${request.url}` }).end(),
  );
  t.equal(
    await check(origin),
    `upstream main: ${origin}/v2/ is not answered by a registry (status 301): set its url to ${origin.replace("http:", "https:")}`,
  );
});

t.test("http where https is meant: the port speaks TLS", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const registry = await startUpstream(t, { tls: authority.issue("server", "IP:127.0.0.1"), path: "" });
  const { origin } = registry.url;
  for (const tls of [undefined, { ca: authority.cert }])
    t.match(
      await check(origin.replace("https:", "http:"), { tls }),
      new RegExp(`; a registry is at ${origin}: set its url to that$`),
      tls === undefined ? "with a certificate nobody trusts" : "with one that is trusted",
    );
});

t.test("https where the port speaks http", async (t) => {
  const registry = await startUpstream(t, { path: "" });
  const { origin } = registry.url;
  t.match(
    await check(origin.replace("http:", "https:")),
    new RegExp(
      `^upstream main could not be reached over TLS .*; a registry is at ${origin}: set its url to that$`,
    ),
  );
  t.equal(registry.requests.at(-1)?.headers.authorization, undefined, "a guess is not told our password");
});

t.test("a redirect to another host is followed, without our password", async (t) => {
  const registry = await startUpstream(t, { path: "", anonymous: true });
  const origin = await startServer(t, (request, response) =>
    response.writeHead(307, { location: registry.url.origin + request.url }).end(),
  );
  t.equal(await check(origin, { redirectsTo: ["127.0.0.1"] }), undefined);
  t.equal(registry.requests[0]?.headers.authorization, undefined);
});

t.test("outages are told as such", async (t) => {
  const origin = await startServer(t, (_request, response) => response.writeHead(503).end());
  t.equal(await check(origin), `upstream main: ${origin}/v2/ fails (status 503)`);
  const closed = await startUpstream(t);
  await closed.stop();
  t.equal(await check(closed.url), "upstream main could not be reached (ECONNREFUSED)");
});

t.test("what is wrong has a code, for those who do not read", async (t) => {
  const origin = await startServer(t, (request, response) =>
    response.writeHead(Number(request.url?.split("/")[1]) || 404).end(),
  );
  const codes = [];
  for (const status of [404, 429, 500]) codes.push((await trouble(`${origin}/${status}`))?.code);
  const registry = await startUpstream(t);
  codes.push((await trouble(registry.url, { auth: wrong }))?.code);
  await registry.stop();
  codes.push((await trouble(registry.url))?.code);
  t.same(codes, ["no_registry", "rate_limited", "server_error", "auth", "unreachable"]);
});

t.test("who gives up gets the reason", async (t) => {
  const asked = Promise.withResolvers<void>();
  const origin = await startServer(t, () => asked.resolve());
  const giving = new AbortController();
  const checking = checkVersion(upstreamConfig(new URL(origin)), giving.signal);
  await asked.promise;
  giving.abort(new Error("enough"));
  await t.rejects(checking, { message: "enough" });
});
