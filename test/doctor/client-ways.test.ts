import { once } from "node:events";
import { createServer } from "node:net";
import t from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { examineClientWays } from "../../src/doctor/client-ways.ts";
import { Part } from "../../src/doctor/examination.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

async function past(host: string | undefined, ca?: string) {
  const part = new Part({ name: "past", signal: new AbortController().signal });
  const mirror = {
    ...plainUpstream("mirror", new URL("http://mirror.example.com:5000")),
    ...(ca && { tls: { ca } }),
  };
  await examineClientWays(part, mirror, host);
  return part.checks;
}

t.test("a registry that is reached, whether or not it lets us in", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const upstream = await startUpstream(t, { path: "", tls: authority.issue("registry", "IP:127.0.0.1") });
  t.match(await past(upstream.url.host, authority.cert), [
    { outcome: "ok", seen: /is reached past the mirror/ },
  ]);
});

t.test("one that is not", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  t.match(await past(`127.0.0.1:${port}`), [
    { outcome: "ok", seen: /is not reached past the mirror.*ECONNREFUSED/ },
  ]);
});

t.test("what cannot be known", async (t) => {
  t.match(await past(undefined), [{ outcome: "skipped", seen: /name an image with it/ }]);
  t.match(await past("mirror.example.com:5000"), [{ outcome: "skipped", seen: /no other way/ }]);
});
