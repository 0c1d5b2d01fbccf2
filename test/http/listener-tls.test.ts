// Clients that speak TLS with the listener itself.
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { Listener, type ListenerOptions } from "../../src/http/listener.ts";
import type { RequestEvent } from "../../src/ports/event.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { connectTls, requestOver, serialOf, serverTls } from "../fixtures/tls-client.ts";

const skip = withoutOpenssl();
const authority = skip === false ? new Authority(t.testdir(), "authority") : undefined;
const ca = authority?.cert ?? "";
const issued = (name: string) => authority?.issue(name, "DNS:localhost") ?? { cert: "", key: "" };

/** Answers every request with the address of its client. */
async function start(t: Test, options: Partial<ListenerOptions> = {}) {
  const events: RequestEvent[] = [];
  const listener = new Listener({
    serve: (exchange) => exchange.send(200, {}, Buffer.from(`for ${exchange.client.address}`)),
    unexpected: (error) => {
      throw error;
    },
    pseudonym: "entrepot-test",
    cacheStatus: true,
    onEvent: (event) => events.push(event),
    tls: serverTls(issued("server")),
    ...options,
  });
  t.teardown(() => listener.stop());
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  return { listener, port, events };
}

t.test(
  "requests are answered over TLS, several on one connection, with the client's address",
  { skip },
  async (t) => {
    const { port, events, listener } = await start(t);
    const secured = await connectTls(port, { ca });
    const answers = text(secured);
    secured.write(
      "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    t.equal((await answers).match(/HTTP\/1\.1 200 OK[\s\S]*?for 127\.0\.0\.1/g)?.length, 2);
    t.match(events, [{ path: "/1" }, { path: "/2" }]);
    t.equal(listener.inFlight, 0);
    await listener.drain();
  },
);

t.test("a plain request is told to use https, and has no event", { skip }, async (t) => {
  const { port, events, listener } = await start(t);
  const socket = connectTcp(port, "127.0.0.1");
  socket.write("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
  t.match(await text(socket), /^HTTP\/1\.1 400 [\s\S]*use https:\/\/\n$/);
  t.same(events, []);
  await listener.drain();
});

t.test("the PROXY header of a trusted proxy comes before TLS", { skip }, async (t) => {
  const { port } = await start(t, { trustedProxies: ["127.0.0.1"] });
  const header = "PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n";
  t.match(await requestOver(await connectTls(port, { ca }, header)), /for 192\.0\.2\.7$/);
  t.match(await requestOver(await connectTls(port, { ca })), /for 127\.0\.0\.1$/, "without one");
});

t.test(
  "another certificate counts for connections to come, and requests on those that live go on",
  { skip },
  async (t) => {
    const { port, listener } = await start(t);
    const before = await connectTls(port, { ca });
    const first = serialOf(before);
    before.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    t.match(String(await once(before, "data")), /^HTTP\/1\.1 200 /);
    listener.useTls(serverTls(issued("next")));
    const after = await connectTls(port, { ca });
    t.not(serialOf(after), first);
    t.match(await requestOver(before), /^HTTP\/1\.1 200 /);
    t.match(await requestOver(after), /^HTTP\/1\.1 200 /);
  },
);

t.test(
  "connections that have not come to their end of the handshake keep nobody from draining",
  { skip },
  async (t) => {
    const { port, listener } = await start(t);
    const held = ["", "\x16\x03\x01"].map((bytes) => {
      const socket = connectTcp(port, "127.0.0.1")
        .on("error", () => {})
        .resume();
      if (bytes !== "") socket.write(bytes, "latin1");
      return socket;
    });
    await Promise.all(held.map((socket) => once(socket, "connect")));
    t.match(await requestOver(await connectTls(port, { ca })), /^HTTP\/1\.1 200 /);
    const closed = Promise.all(held.map((socket) => once(socket, "close")));
    await listener.drain();
    await closed;
  },
);

t.test("an answer whose end is that of the connection is cut by a reset below TLS", { skip }, async (t) => {
  const begun = Promise.withResolvers<() => void>();
  const { port } = await start(t, {
    serve: (exchange) => {
      exchange.begin(200, {}, undefined);
      void exchange.write(Buffer.from("a part"));
      begun.resolve(() => exchange.cut("node"));
    },
  });
  const secured = await connectTls(port, { ca });
  secured.write("GET / HTTP/1.0\r\n\r\n");
  const cut = await begun.promise;
  t.match(String(await once(secured, "data")), /^HTTP\/1\.1 200 /);
  const failed = once(secured, "error");
  cut();
  t.match(await failed, [{ code: "ECONNRESET" }]);
});
