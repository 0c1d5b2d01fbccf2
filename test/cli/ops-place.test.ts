import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { Authority, type Identity, withoutOpenssl } from "../fixtures/certificates.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { upstreamUrl } from "../fixtures/loading.ts";
import { fullExplanation } from "../fixtures/stats-samples.ts";

async function start(t: Test, { cert, key }: Identity) {
  const shown: (string | undefined)[] = [];
  const server = createServer({ cert, key }, (request, response) => {
    shown.push(request.headers.authorization);
    response.end(JSON.stringify(fullExplanation("x")));
  }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  return { shown, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

t.test(
  "over TLS only the certificate of the configuration is shown the password",
  { skip: withoutOpenssl() },
  async (t) => {
    const authority = new Authority(t.testdir(), "authority");
    const [own, other] = [
      authority.issue("own", "DNS:mirror.example.com"),
      authority.issue("other", "DNS:mirror.example.com,IP:127.0.0.1"),
    ];
    const [mirror, stranger] = [await start(t, own), await start(t, other)];
    // With its chain, of which the authority alone proves nothing.
    const files = { "/tls.crt": `${own.cert}${authority.cert}`, "/tls.key": own.key, "/p": "hunter2" };
    const why = (address: string) => {
      const env = {
        ...upstreamUrl,
        ENTREPOT_OPS_LISTEN: address,
        ENTREPOT_OPS_TLS_CERT_FILE: "/tls.crt",
        ENTREPOT_OPS_TLS_KEY_FILE: "/tls.key",
        ENTREPOT_OPS_ACCESS_PASSWORD_FILE: "/p",
      };
      return commandLine(["why", "app"], { env, files });
    };
    t.equal(await why(mirror.address).exit, 0);
    t.match(mirror.shown, [/^Basic /]);
    const refused = why(stranger.address);
    t.equal(await refused.exit, 2);
    t.match(refused.err(), `no mirror answers at https://${stranger.address}`);
    const unknown = commandLine(["why", "app", "--ops", `https://${mirror.address}`]);
    t.equal(await unknown.exit, 2, "an authority that nobody trusts");
    t.same(stranger.shown, []);
    t.equal(mirror.shown.length, 1);
  },
);
