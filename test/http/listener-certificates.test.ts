// Clients that show certificates: whom the listener takes them for, on new connections and resumed ones.
import { once } from "node:events";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { Listener, type ListenerOptions } from "../../src/http/listener.ts";
import { certificateHeader } from "../../src/ports/grant.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { connectTls, requestOver, serverTls } from "../fixtures/tls-client.ts";

const skip = withoutOpenssl();
const directory = t.testdir();
const authority = skip === false ? new Authority(directory, "authority") : undefined;
const stranger = skip === false ? new Authority(directory, "stranger") : undefined;
const ca = authority?.cert ?? "";
const nothing = { cert: "", key: "" };
const server = authority?.issue("server", "DNS:localhost") ?? nothing;
const robot =
  authority?.issue(
    "robot",
    "URI:spiffe://example.com/ci,DNS:a,DNS:b",
    "/O=Example/OU=builders/OU=ci/CN=robot",
  ) ?? nothing;

/** Answers every request with whom its certificate names. */
async function start(t: Test, options: Partial<ListenerOptions> = {}) {
  const listener = new Listener({
    serve: (exchange) =>
      exchange.send(200, {}, Buffer.from(JSON.stringify(exchange.certified?.person ?? "nobody"))),
    unexpected: (error) => {
      throw error;
    },
    pseudonym: "entrepot-test",
    cacheStatus: true,
    onEvent: () => {},
    tls: serverTls(server, ca),
    certificates: { name: "cn", groups: "ou" },
    ...options,
  });
  t.teardown(() => listener.stop());
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  return { listener, port };
}

const bodyOf = (answer: string): unknown => JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4));
const asked = { name: "cert:robot", groups: ["cert:builders", "cert:ci"] };

t.test("a certificate names its client, of the kind that counts", { skip }, async (t) => {
  const { port, listener } = await start(t);
  t.same(bodyOf(await requestOver(await connectTls(port, { ca, ...robot }))), asked);
  t.equal(bodyOf(await requestOver(await connectTls(port, { ca }))), "nobody");
  listener.prepare({ certificates: { name: "uri", groups: "o" } })();
  t.same(bodyOf(await requestOver(await connectTls(port, { ca, ...robot }))), {
    name: "cert:spiffe://example.com/ci",
    groups: ["cert:Example"],
  });
  listener.prepare({ certificates: { name: "dns", groups: "o" } })();
  t.equal(bodyOf(await requestOver(await connectTls(port, { ca, ...robot }))), "nobody", "it has two");
  listener.prepare({ certificates: undefined })();
  t.equal(bodyOf(await requestOver(await connectTls(port, { ca, ...robot }))), "nobody");
});

t.test("every request of a connection is its certificate's, and no header makes one", { skip }, async (t) => {
  const { port } = await start(t);
  const forged = Buffer.from('["robot","ci"]').toString("base64url");
  const lines = `${certificateHeader}: ${forged}\r\nHost: x\r\n`;
  for (const [options, expected] of [
    [{ ca, ...robot }, asked],
    [{ ca }, "nobody"],
  ] as const) {
    const secured = await connectTls(port, options);
    const answers = text(secured);
    secured.write(`GET /1 HTTP/1.1\r\n${lines}\r\nGET /2 HTTP/1.1\r\n${lines}Connection: close\r\n\r\n`);
    const found = (await answers).match(/^(?:\{.*\}|"nobody")/gm) ?? [];
    t.same(
      found.map((each) => JSON.parse(each)),
      [expected, expected],
    );
  }
});

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const)
  t.test(`a session that is resumed is still its certificate's, ${maxVersion}`, { skip }, async (t) => {
    const { port } = await start(t);
    for (const [shown, expected] of [
      [robot, asked],
      [undefined, "nobody"],
    ] as const) {
      const first = await connectTls(port, { ca, ...shown, maxVersion });
      t.teardown(() => first.destroy());
      first.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      // In TLS 1.3 what a session is resumed with comes after the handshake.
      await once(first, "data");
      // No certificate is shown again.
      const again = await connectTls(port, { ca, session: first.getSession(), maxVersion });
      t.equal(again.isSessionReused(), true);
      t.same(bodyOf(await requestOver(again)), expected);
    }
  });

t.test("where certificates are required nobody else gets through, probes neither", { skip }, async (t) => {
  const { port } = await start(t, { tls: { ...serverTls(server, ca), clientsNeedOne: true } });
  t.same(bodyOf(await requestOver(await connectTls(port, { ca, ...robot }))), asked);
  const other = stranger?.issue("robot", "DNS:localhost") ?? nothing;
  for (const options of [{ ca }, { ca, ...other }]) {
    // In TLS 1.3 a client hears of it after its handshake.
    const answer = connectTls(port, options).then(
      (secured) => requestOver(secured, "/livez"),
      (error) => error.message,
    );
    t.notMatch(await answer.catch((error) => error.message), /HTTP\/1\.1/);
  }
});
