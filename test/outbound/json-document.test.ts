import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { fetchJson } from "../../src/outbound/json-document.ts";

async function serve(t: Test, listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/keys?secret=1`);
}

const options = { userAgent: "entrepot/test", timeout: 5_000 };

t.test("a document", async (t) => {
  const url = await serve(t, ({ headers }, response) =>
    response.end(JSON.stringify({ agent: headers["user-agent"] })),
  );
  t.same(await fetchJson(url, options), { agent: "entrepot/test" });
});

t.test("why there is none, without the query", async (t) => {
  const cases: readonly (readonly [RequestListener, RegExp])[] = [
    [(_, response) => response.writeHead(500).end("{}"), /\/keys answers 500$/],
    [(_, response) => response.writeHead(302, { location: "/other" }).end(), /\/keys answers 302$/],
    [(_, response) => response.end("<html>"), /\/keys is no JSON$/],
    [(_, response) => response.end(`"${"x".repeat(1024 * 1024)}"`), /\/keys is larger than 1 MiB$/],
    [({ socket }) => socket.destroy(), /\/keys cannot be asked \(ECONNRESET\)$/],
  ];
  for (const [listener, says] of cases) await t.rejects(fetchJson(await serve(t, listener), options), says);
  const silent = await serve(t, () => {});
  await t.rejects(fetchJson(silent, { ...options, timeout: 50 }), /\/keys does not answer in time$/);
});

t.test("through the proxy, unless it is this machine that is asked", async (t) => {
  const asked: string[] = [];
  const proxy = await serve(t, ({ url = "" }, response) => {
    asked.push(url);
    response.end('{"keys":[]}');
  });
  const server = {
    protocol: "http",
    host: "127.0.0.1",
    port: Number(proxy.port),
    name: "proxy",
    username: undefined,
    password: undefined,
  } as const;
  const through = { ...options, proxy: { http: server, https: server, noProxy: [] } } as Parameters<
    typeof fetchJson
  >[1];
  t.same(await fetchJson(new URL("http://tokens.example.com/keys"), through), { keys: [] });
  t.same(asked, ["http://tokens.example.com/keys"]);
});
