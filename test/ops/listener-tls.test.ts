import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import t from "tap";
import { Health } from "../../src/ops/health.ts";
import { createOpsListener } from "../../src/ops/listener.ts";
import { createLogger } from "../../src/telemetry/lines/json-log.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { rememberingOutput } from "../fixtures/telemetry-samples.ts";
import { connectTls, requestOver, serialOf, serverTls } from "../fixtures/tls-client.ts";

t.test(
  "the ops listener over TLS, with a certificate that changes",
  { skip: withoutOpenssl() },
  async (t) => {
    const authority = new Authority(t.testdir(), "authority");
    const issued = (name: string) => serverTls(authority.issue(name, "DNS:localhost"));
    const listener = createOpsListener({
      health: new Health(),
      metrics: { contentType: "text/plain", render: async () => "" },
      log: createLogger("info", rememberingOutput()).logger,
      tls: issued("one"),
    });
    const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
    t.teardown(() => listener.close());
    const before = await connectTls(port, { ca: authority.cert });
    listener.useTls(issued("two"));
    const after = await connectTls(port, { ca: authority.cert });
    t.not(serialOf(before), serialOf(after));
    for (const secured of [before, after])
      t.match(await requestOver(secured), /^HTTP\/1\.1 200 [\s\S]*ok\n$/);
    const plain = connectTcp(port, "127.0.0.1");
    plain.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    t.match(await text(plain), /^HTTP\/1\.1 400 /);
    // More than there may be at once: the longest without a request are let go, each once.
    for (let i = 0; i < 300; i++) {
      const secured = await connectTls(port, { ca: authority.cert });
      t.teardown(() => secured.destroy());
      secured.on("error", () => {}).resume();
    }
    t.match(await requestOver(await connectTls(port, { ca: authority.cert })), /ok\n$/);
  },
);
