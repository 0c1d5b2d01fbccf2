import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { createSecureContext } from "node:tls";
import { inspect } from "node:util";
import t, { type Test } from "tap";
import { parseProxy } from "../../src/config/proxy.ts";
import { connectToProxy, openTunnel, ProxyError, proxyRefusal } from "../../src/outbound/tunnel.ts";
import { Authority, type Identity, withoutOpenssl } from "../fixtures/certificates.ts";
import { startProxy } from "../fixtures/scripted-proxy.ts";

/** Longer than any answer here takes. */
const patient = { timeout: 60_000 };
const account = "user:p%40ss%20word";

/** A server that says what it hears, and a proxy under whose name `far.example.com:443` it is. */
async function setUp(t: Test, withAccount?: string, tls?: Identity) {
  const echo = createServer(
    (socket) => void socket.on("error", () => {}).on("data", (data) => socket.write(data)),
  );
  echo.listen(0, "127.0.0.1");
  await once(echo, "listening");
  t.teardown(() => echo.close());
  const proxy = await startProxy(t, {
    ...(withAccount !== undefined && { account: withAccount }),
    ...(tls && { tls }),
  });
  proxy.ports.set("far.example.com:443", (echo.address() as AddressInfo).port);
  return proxy;
}

async function proxyError(promise: Promise<unknown>): Promise<ProxyError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(error instanceof ProxyError)) throw new Error("expected a ProxyError", { cause: error });
  return error;
}

for (const scheme of ["http", "socks5"] as const) {
  t.test(`a tunnel through ${scheme}`, async (t) => {
    for (const shown of [undefined, "user:p@ss word"]) {
      const proxy = await setUp(t, shown);
      const server = proxy.server(scheme, shown === undefined ? undefined : account);
      const socket = await openTunnel(server, "far.example.com", 443, patient);
      socket.write("hello");
      t.equal(String((await once(socket, "data"))[0]), "hello");
      const by = scheme === "http" ? "connect" : scheme;
      t.same(proxy.requests, [{ by, to: "far.example.com:443", account: shown }]);
      socket.destroy();
    }
  });

  t.test(
    `${scheme}: what the proxy refuses is told by its name, without its account or its words`,
    async (t) => {
      const proxy = await setUp(t, "user:other");
      const server = proxy.server(scheme, "user:s3cret");
      const open = () => openTunnel(server, "far.example.com", 443, patient);
      const refusals = [await proxyError(open())];
      t.match(refusals[0]?.message, /^the proxy (?:http|socks5):\/\/127\.0\.0\.1:\d+ refuses our account/);
      const anonymous = await setUp(t);
      if (scheme === "http") {
        anonymous.fault = 401;
        const error = await proxyError(openTunnel(anonymous.server(scheme), "far.example.com", 443, patient));
        t.match(error.message, /refuses our account, or wants one \(status 401\)/);
      }
      for (const [fault, text] of [
        [scheme === "http" ? 403 : 2, /does not let us through/],
        [scheme === "http" ? 503 : 5, /could not connect \((?:status 503|ConnectionRefused)\)/],
      ] as const) {
        anonymous.fault = fault;
        const error = await proxyError(openTunnel(anonymous.server(scheme), "far.example.com", 443, patient));
        t.match(error, { message: text, late: false, beyond: error.message.includes("could not connect") });
        refusals.push(error);
      }
      t.notMatch(inspect(refusals, { depth: 9 }), /s3cret|hidden/);
      t.equal(proxy.open.size + anonymous.open.size, 0);
    },
  );

  t.test(`${scheme}: a proxy that says nothing is given up in time`, async (t) => {
    const proxy = await setUp(t);
    proxy.fault = "silence";
    const error = await proxyError(
      openTunnel(proxy.server(scheme), "far.example.com", 443, { timeout: 300 }),
    );
    t.match(error, { message: /did not connect in 300 ms/, late: true });
  });

  t.test(`${scheme}: a proxy that is down, or hangs up, could not be reached`, async (t) => {
    const proxy = await setUp(t);
    const server = proxy.server(scheme);
    await proxy.stop();
    t.match(await proxyError(openTunnel(server, "far.example.com", 443, patient)), {
      message: /could not be reached \(ECONNREFUSED\)/,
      late: false,
    });
    const rude = createServer(
      (socket) => void socket.on("error", () => {}).on("data", () => socket.destroy()),
    );
    rude.listen(0, "127.0.0.1");
    await once(rude, "listening");
    t.teardown(() => rude.close());
    const parsed = parseProxy(`${scheme}://127.0.0.1:${(rude.address() as AddressInfo).port}`);
    if (!("value" in parsed)) throw new Error(parsed.expected);
    t.equal((await proxyError(openTunnel(parsed.value, "far.example.com", 443, patient))).late, false);
  });
}

t.test("what a proxy answers by itself is told from what others answer through it", async (t) => {
  const parsed = parseProxy("http://proxy.example.com:3128");
  if (!("value" in parsed)) throw new Error(parsed.expected);
  const refusal = (status: number, headers = {}) => proxyRefusal(parsed.value, status, headers)?.message;
  t.match(refusal(407), /^the proxy http:\/\/proxy\.example\.com:3128 refuses our account/);
  for (const own of [
    { "x-squid-error": "ERR_ACCESS_DENIED 0" },
    { server: "tinyproxy/1.11.1" },
    { "proxy-status": "proxy.example.com; error=http_request_denied" },
  ]) {
    t.match(refusal(403, own), /does not let us through \(status 403\)/);
    t.match(refusal(401, own), /refuses our account/);
    t.equal(refusal(404, own), undefined);
  }
  for (const others of [{}, { server: "nginx" }, { "proxy-status": "proxy.example.com; next-hop=a" }])
    for (const status of [200, 401, 403]) t.equal(refusal(status, others), undefined);
});

t.test(
  "an https proxy is spoken to over TLS, with an authority of our own",
  { skip: withoutOpenssl() },
  async (t) => {
    const authority = new Authority(t.testdir(), "authority");
    const proxy = await setUp(t, undefined, authority.issue("proxy", "IP:127.0.0.1"));
    const server = proxy.server("https");
    const trust = createSecureContext({ ca: authority.cert });
    const socket = await openTunnel(server, "far.example.com", 443, { ...patient, trust });
    socket.write("hello");
    t.equal(String((await once(socket, "data"))[0]), "hello");
    socket.destroy();
    const direct = await connectToProxy(server, { ...patient, trust });
    direct.destroy();
    t.match(await proxyError(openTunnel(server, "far.example.com", 443, patient)), {
      message: /could not be reached \(\w*(?:CERT|VERIFY)\w*\)/,
    });
  },
);

t.test("SOCKS5 is told addresses as addresses, CONNECT IPv6 in brackets", async (t) => {
  const proxy = await setUp(t);
  for (const host of ["192.0.2.1", "[2001:db8::1]"])
    for (const scheme of ["socks5", "http"] as const) {
      proxy.fault = scheme === "http" ? 503 : 1;
      await proxyError(openTunnel(proxy.server(scheme), host, 8443, patient));
    }
  t.same(
    proxy.requests.map(({ to }) => to),
    ["192.0.2.1:8443", "192.0.2.1:8443", "[20010db8000000000000000000000001]:8443", "[2001:db8::1]:8443"],
  );
});
