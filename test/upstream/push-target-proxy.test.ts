// Writes to a registry that is reached through a proxy only.
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import { createAuthorizer } from "../../src/upstream/auth/authorization.ts";
import { HttpPushTarget } from "../../src/upstream/push-target.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { upstreamConfig } from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { pushImage } from "../fixtures/push-client.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";
import { type ScriptedProxy, startProxy } from "../fixtures/scripted-proxy.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const host = "registry.corp.invalid";
const account = "mirror:hunter2";

function through(proxy: ScriptedProxy, scheme: "http" | "socks5"): Pick<UpstreamConfig, "proxy"> {
  const server = proxy.server(scheme);
  return { proxy: { http: server, https: server, noProxy: [] } };
}

function targetOf(t: Test, url: URL, changes: Partial<UpstreamConfig>): HttpPushTarget {
  const config = upstreamConfig(url, changes);
  const target = new HttpPushTarget(
    config,
    createAuthorizer(config, () => {}, Date.now),
  );
  t.teardown(() => target.close());
  return target;
}

/** What a request sent as writes are comes to: the status, or the error. */
function send(target: HttpPushTarget, url: URL): Promise<number | Error> {
  const { promise, resolve } = Promise.withResolvers<number | Error>();
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  const sent = request(url, { agent: target.agentFor(url), method: "GET" }, (answer) => {
    answer.resume().on("close", () => resolve(answer.statusCode ?? 0));
  });
  sent.on("error", resolve).end();
  return promise;
}

t.test("a whole image is pushed through either kind of proxy", async (t) => {
  const image = makeImage({ layers: [10_000, 300_000], seed: "pushed through a proxy" });
  for (const scheme of ["http", "socks5"] as const) {
    const upstream = await startPushUpstream(t);
    // The absolute ones name its address.
    upstream.locations = "relative";
    const proxy = await startProxy(t, { account });
    proxy.ports.set(`${host}:8080`, Number(upstream.url.port));
    const { username, password } = upstream;
    const url = new URL(upstream.url.pathname, `http://${host}:8080`);
    const far = { url, username, password };
    const changes = { push: true, redirectsTo: ["127.0.0.1"], ...through(proxy, scheme) };
    const mirror = await startMirror(t, far, { cache: { dir: t.testdir() }, upstream: changes });
    await pushImage(mirror, "team/app", "1", image);
    t.ok(
      proxy.requests.every(
        ({ by, account: shown }) => by === (scheme === "http" ? "forward" : scheme) && shown === account,
      ),
    );
    t.notOk(upstream.requests.some(({ headers }) => "proxy-authorization" in headers));
  }
});

t.test("TLS is with the registry; its connections are kept", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const tls = authority.issue("registry", `DNS:${host}`);
  for (const scheme of ["http", "socks5"] as const) {
    const registry = await startUpstream(t, { tls, path: "", anonymous: true });
    const proxy = await startProxy(t, { account });
    proxy.ports.set(`${host}:443`, Number(registry.url.port));
    const url = new URL(`https://${host}/v2/`);
    const target = targetOf(t, new URL(url.origin), {
      tls: { ca: authority.cert },
      ...through(proxy, scheme),
    });
    for (const _ of [1, 2]) t.equal(await send(target, url), 200);
    t.equal(registry.connections, 1);
    t.same(
      proxy.requests.map(({ by, to }) => `${by} ${to}`),
      [`${scheme === "http" ? "connect" : scheme} ${host}:443`],
    );
  }
});

t.test("where a registry sends writes on, the rules are held to names", async (t) => {
  const registry = await startUpstream(t, { path: "", anonymous: true });
  const proxy = await startProxy(t, { account });
  const own = new URL(`http://${host}:8080`);
  const target = targetOf(t, own, { redirectsTo: ["storage.corp.invalid"], ...through(proxy, "http") });
  for (const [place, expected] of [
    ["uploads.example.com", 200],
    ["storage.corp.invalid", 200],
    ["other.corp.invalid", { code: "redirect_refused", message: /no public name/ }],
    ["10.0.0.1", { code: "redirect_refused" }],
    ["127.0.0.1", { code: "redirect_refused" }],
  ] as const) {
    proxy.ports.set(`${place}:80`, Number(registry.url.port));
    t.match(await send(target, new URL(`http://${place}/v2/`)), expected, place);
  }
});

t.test("a proxy that refuses or is down is told by its name", { skip: withoutOpenssl() }, async (t) => {
  const proxy = await startProxy(t, { account });
  const url = new URL(`https://${host}/v2/`);
  const target = targetOf(t, new URL(url.origin), through(proxy, "http"));
  proxy.fault = 407;
  const refused = await send(target, url);
  t.match(refused, {
    code: "unreachable",
    message: /the proxy http:\/\/127\.0\.0\.1:\d+ refuses our account/,
  });
  await proxy.stop();
  const down = await send(target, url);
  t.match(down, { code: "unreachable", message: /the proxy .* could not be reached/ });
  t.notMatch(String(refused) + String(down), /hunter2/);
});
