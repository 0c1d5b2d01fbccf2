// An upstream that is reached through a proxy only: it has a name that is nowhere, and the proxy knows where it is.
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../../src/config/config.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { Authority, withoutOpenssl } from "../../fixtures/certificates.ts";
import {
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { makeImage } from "../../fixtures/images.ts";
import { type ScriptedProxy, startProxy } from "../../fixtures/scripted-proxy.ts";
import { startUpstream, type UpstreamOptions } from "../../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../../fixtures/token-server.ts";

const image = makeImage({ layers: [10_000, 300_000], seed: "proxy" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const large = image.layers[1] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;
const account = "mirror:hunter2";
const host = "registry.corp.invalid";

type Scheme = "http" | "socks5";

function through(proxy: ScriptedProxy, scheme: Scheme = "http"): Pick<UpstreamConfig, "proxy"> {
  const server = proxy.server(scheme);
  return { proxy: { http: server, https: server, noProxy: [] } };
}

/** A registry called `host` behind a proxy, in plain http unless there is TLS. */
async function setUp(t: Test, options: UpstreamOptions = {}, scheme: Scheme = "http") {
  const registry = await startUpstream(t, options);
  registry.addImage(repository, "1", image);
  const proxy = await startProxy(t, { account });
  const { protocol, port, pathname } = registry.url;
  proxy.ports.set(`${host}:8080`, Number(port));
  const url = new URL(`${protocol}//${host}:8080${pathname}`);
  const connect = (changes: Partial<UpstreamConfig> = {}) =>
    connectUpstream(t, url, { ...through(proxy, scheme), ...changes });
  return { registry, proxy, url, connect };
}

/** The ways the proxy was used, each once. */
function waysOf({ requests }: ScriptedProxy): string[] {
  return [...new Set(requests.map(({ by, to }) => `${by} ${to}`))];
}

t.test("plain http: an HTTP proxy gets the requests themselves, SOCKS5 a connection", async (t) => {
  for (const [scheme, by] of [
    ["http", "forward"],
    ["socks5", "socks5"],
  ] as const) {
    const { registry, proxy, connect } = await setUp(t, {}, scheme);
    const { upstream } = connect();
    found(await upstream.getManifest(repository, tagged("1")));
    const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
    t.ok((await drain(body)).bytes.equals(layer.bytes));
    t.same(waysOf(proxy), [`${by} ${host}:8080`]);
    t.ok(proxy.requests.every((each) => each.account === account));
    t.ok(registry.requests.every(({ headers }) => headers.host === `${host}:8080`));
    t.notOk(registry.requests.some(({ headers }) => "proxy-authorization" in headers));
  }
});

t.test("TLS is with the registry, through either kind of proxy", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const tls = authority.issue("registry", `DNS:${host}`);
  for (const scheme of ["http", "socks5"] as const) {
    const { registry, proxy, connect } = await setUp(t, { tls }, scheme);
    const trusting = connect({ tls: { ca: authority.cert } });
    const { body } = found(await trusting.upstream.openBlob(repository, layer.digest, 0, never));
    t.ok((await drain(body)).bytes.equals(layer.bytes));
    t.same(waysOf(proxy), [`${scheme === "http" ? "connect" : scheme} ${host}:8080`]);
    registry.forget();
    const strict = connect();
    t.match(await upstreamError(strict.upstream.headManifest(repository, tagged("1"))), {
      code: "unreachable",
      message: /over TLS.*tls\.ca/,
    });
    t.equal(registry.count(), 0);
  }
});

t.test("connections are kept and limited as without one", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const tls = authority.issue("registry", `DNS:${host}`);
  for (const options of [{}, { tls }]) {
    const { registry, proxy, connect } = await setUp(t, options);
    const { upstream } = connect({ maxConnections: 2, tls: { ca: authority.cert } });
    for (const _ of [1, 2, 3]) found(await upstream.headManifest(repository, tagged("1")));
    const before = proxy.connections;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { body } = found(await upstream.openBlob(repository, large.digest, 0, never));
        t.ok((await drain(body)).bytes.equals(large.bytes));
      }),
    );
    t.ok(registry.connections <= 4, "one for the questions about credentials at most");
    t.ok(proxy.connections <= before + 1, "and those are kept");
    await idle(upstream);
  }
});

t.test("a token server is asked through the proxy, too", async (t) => {
  const tokens = await startTokenServer(t);
  const { proxy, connect } = await setUp(t, { bearer: tokens });
  proxy.ports.set("tokens.corp.invalid:9090", Number(tokens.realm.port));
  tokens.called = new URL(tokens.realm.pathname, "http://tokens.corp.invalid:9090");
  const refused = connect();
  t.match(await upstreamError(refused.upstream.headManifest(repository, tagged("1"))), { code: "auth" });
  const { upstream } = connect({ tokenRealms: ["tokens.corp.invalid:9090"] });
  found(await upstream.headManifest(repository, tagged("1")));
  t.ok(waysOf(proxy).includes("forward tokens.corp.invalid:9090"));
});

t.test("redirects: the rules are held to names, since the proxy resolves them", async (t) => {
  const { registry, proxy, connect } = await setUp(t);
  const storage = await startUpstream(t, { path: "", anonymous: true });
  storage.addImage(repository, "1", image);
  const { port } = storage.url;
  const to = (place: string) => {
    proxy.ports.set(place, Number(port));
    registry.fault(({ kind }) =>
      kind === "blob"
        ? { status: 307, headers: { location: `http://${place}/v2/${repository}/blobs/${layer.digest}` } }
        : undefined,
    );
  };
  const open = (redirectsTo: readonly string[] = []) =>
    connect({ redirectsTo }).upstream.openBlob(repository, layer.digest, 0, never);

  to("cdn.example.com:80");
  t.ok((await drain(found(await open()).body)).bytes.equals(layer.bytes), "a public name");
  t.equal(storage.requests.at(-1)?.headers.authorization, undefined);
  for (const place of ["storage.corp.invalid:80", "metadata:80", "a.internal:80", "10.0.0.1:80"]) {
    to(place);
    storage.forget();
    t.match(
      await upstreamError(open()),
      { code: "redirect_refused", message: new RegExp(`${place.slice(0, -3)}, which is .*redirectsTo`) },
      place,
    );
    t.equal(storage.count(), 0);
    t.ok((await drain(found(await open([place.slice(0, -3)])).body)).bytes.equals(layer.bytes), "listed");
  }
  to("127.0.0.1:80");
  const before = proxy.requests.length;
  t.match(await upstreamError(open()), { code: "redirect_refused" });
  t.notOk(
    proxy.requests.slice(before).some(({ to }) => to.startsWith("127.")),
    "this machine is not asked of the proxy",
  );
});

t.test("a storage over TLS is trusted by the same authority", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const { registry, proxy, connect } = await setUp(t, { tls: authority.issue("registry", `DNS:${host}`) });
  const storage = createServer(authority.issue("storage", "DNS:cdn.example.com"), (_, response) => {
    response.end(layer.bytes);
  });
  storage.listen(0, "127.0.0.1");
  await once(storage, "listening");
  t.teardown(() => storage.close());
  proxy.ports.set("cdn.example.com:443", (storage.address() as AddressInfo).port);
  registry.fault(({ kind }) =>
    kind === "blob" ? { status: 307, headers: { location: "https://cdn.example.com/x" } } : undefined,
  );
  const { upstream } = connect({ tls: { ca: authority.cert } });
  const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.ok((await drain(body)).bytes.equals(layer.bytes));
  t.same(waysOf(proxy), [`connect ${host}:8080`, "connect cdn.example.com:443"]);
});

t.test(
  "a proxy that refuses, hangs or is down is an outage, told by its name",
  { skip: withoutOpenssl() },
  async (t) => {
    const authority = new Authority(t.testdir(), "authority");
    const tls = authority.issue("registry", `DNS:${host}`);
    for (const options of [{}, { tls }]) {
      const { registry, proxy, connect } = await setUp(t, options);
      const ask = (changes: Partial<UpstreamConfig> = {}) =>
        upstreamError(connect(changes).upstream.headManifest(repository, tagged("1")));
      const name = /the proxy http:\/\/127\.0\.0\.1:\d+ /;
      const errors = [];
      for (const status of [407, 403]) {
        proxy.fault = status;
        const error = await ask();
        errors.push(error);
        t.match(error, { code: "unreachable", message: name }, `${status}`);
      }
      proxy.fault = "silence";
      const late = await ask({ connectTimeout: 200, firstByteTimeout: 200 });
      t.match(late, { code: "timeout", message: name });
      await proxy.stop();
      const down = await ask();
      t.match(down, { code: "unreachable", message: name });
      t.equal(registry.count(), 0);
      t.notMatch([...errors, late, down].map(({ message }) => message).join(), /hunter2|hidden/);
    }
  },
);

t.test("the circuit: a proxy that is down is probed, and found again", async (t) => {
  const { proxy, connect } = await setUp(t);
  const { upstream, of } = connect();
  await proxy.stop();
  for (const _ of [1, 2, 3]) await upstreamError(upstream.headManifest(repository, tagged("1")));
  t.equal((await upstreamError(upstream.headManifest(repository, tagged("1")))).code, "circuit_open");
  await proxy.start();
  while (upstream.circuit.state !== "closed") await new Promise(setImmediate);
  found(await upstream.headManifest(repository, tagged("1")));
  t.ok(of("circuit").length >= 2);
});

t.test("noProxy goes around it", async (t) => {
  const { registry, proxy, connect } = await setUp(t);
  const server = proxy.server();
  const { upstream } = connect({ proxy: { http: server, https: server, noProxy: [".corp.invalid"] } });
  t.equal((await upstreamError(upstream.headManifest(repository, tagged("1")))).code, "unreachable");
  t.equal(proxy.requests.length + registry.count(), 0);
});
