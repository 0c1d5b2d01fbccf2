import { randomBytes, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { listenAt } from "../../src/ports/listening.ts";
import { connectionBelow, type ServerTls, TlsFront } from "../../src/ports/tls-front.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { connectTls, requestOver, serialOf, serverTls } from "../fixtures/tls-client.ts";

const skip = withoutOpenssl();
const authority = skip === false ? new Authority(t.testdir(), "authority") : undefined;
const ca = authority?.cert ?? "";
const issued = (name: string) => authority?.issue(name, "DNS:localhost") ?? { cert: "", key: "" };

/** Says hello over every connection that has come through the front, and ends it. */
async function start(t: Test, tls: ServerTls, timeout?: number) {
  const front = new TlsFront(tls, timeout);
  const taken: Socket[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    front.take(socket, (secured) => {
      taken.push(secured);
      secured.on("error", () => {});
      secured.once("data", () => secured.end(`over ${secured.getProtocol()} ${secured.alpnProtocol}`));
    });
  });
  const { port } = await listenAt(server, { host: "127.0.0.1", port: 0 });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { front, port, taken, sockets };
}

t.test("TLS 1.2 and 1.3 with HTTP/1.1, and nothing older or newer", { skip }, async (t) => {
  const { port, taken, sockets } = await start(t, serverTls(issued("server")));
  const offers = ["h2", "http/1.1"];
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const options = { ca, minVersion: version, maxVersion: version, ALPNProtocols: offers };
    t.equal(await requestOver(await connectTls(port, options)), `over ${version} http/1.1`);
  }
  t.equal(await requestOver(await connectTls(port, { ca })), "over TLSv1.3 false", "without ALPN");
  // Weak enough for OpenSSL to offer it at all.
  const old = { ca, minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  await t.rejects(connectTls(port, old), { code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION" });
  await t.rejects(connectTls(port, { ca, ALPNProtocols: ["h2"] }), { code: /NO_APPLICATION_PROTOCOL/ });
  t.equal(taken.length, 3);
  for (const secured of taken) t.not(connectionBelow(secured), secured);
  while (sockets.size > 0) await Promise.all([...sockets].map((socket) => once(socket, "close")));
});

t.test("what is not TLS is told so, and its connection ends", { skip }, async (t) => {
  const { port, taken, sockets } = await start(t, serverTls(issued("server")));
  for (const sent of ["GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", "PUT / HTTP/1.0\r\n\r\nbody", "\x80\x2e"]) {
    const socket = connectTcp(port, "127.0.0.1");
    socket.write(sent);
    const answer = await text(socket);
    t.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n[\s\S]*\r\nConnection: close\r\n/);
    const [, body = ""] = answer.split("\r\n\r\n");
    t.equal(body, "this port speaks TLS: use https://\n");
    t.match(answer, `Content-Length: ${body.length}`);
  }
  t.same(taken, []);
  while (sockets.size > 0) await Promise.all([...sockets].map((socket) => once(socket, "close")));
});

t.test(
  "a connection that says nothing, and a handshake that does not end, are closed",
  { skip },
  async (t) => {
    const { port, taken, sockets } = await start(t, serverTls(issued("server")), 50);
    for (const sent of ["", "\x16", "\x16\x03\x01\x02\x00\x01\x00"]) {
      const socket = connectTcp(port, "127.0.0.1").on("error", () => {});
      if (sent !== "") socket.write(Buffer.from(sent, "latin1"));
      socket.resume();
      await once(socket, "close");
    }
    const gone = connectTcp(port, "127.0.0.1");
    await once(gone, "connect");
    gone.destroy();
    while (sockets.size > 0) await Promise.all([...sockets].map((socket) => once(socket, "close")));
    t.same(taken, []);
  },
);

t.test(
  "another certificate is for connections to come; one that cannot be used changes nothing",
  { skip },
  async (t) => {
    const [one, two] = [issued("one"), issued("two")];
    const { front, port } = await start(t, serverTls(one));
    const serial = ({ cert }: { cert: string }) => new X509Certificate(cert).serialNumber;
    const before = await connectTls(port, { ca });
    front.use(serverTls(two));
    const after = await connectTls(port, { ca });
    t.equal(serialOf(before), serial(one));
    t.equal(serialOf(after), serial(two));
    t.equal(await requestOver(before), "over TLSv1.3 false", "those that live go on");
    t.equal(await requestOver(after), "over TLSv1.3 false");
    t.throws(() => front.use(serverTls({ cert: one.cert, key: two.key })), { code: /KEY_VALUES_MISMATCH/ });
    const still = await connectTls(port, { ca });
    t.equal(serialOf(still), serial(two));
    still.destroy();
  },
);

t.test(
  "a session is resumed by whoever has the same keys for tickets, and by nobody else",
  { skip },
  async (t) => {
    const tls = serverTls(issued("server"));
    const one = await start(t, tls);
    const two = await start(t, { ...tls, ticketKeys: Uint8Array.from(tls.ticketKeys) });
    const other = await start(t, { ...tls, ticketKeys: randomBytes(48) });
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const first = await connectTls(one.port, { ca, maxVersion });
      // TLS 1.3 sends it after the handshake, before the first bytes.
      const later = maxVersion === "TLSv1.3" ? once(first, "session") : undefined;
      const atOnce = first.getSession();
      await requestOver(first);
      const session = ((await later)?.[0] ?? atOnce) as Buffer;
      for (const [port, resumed] of [
        [two.port, true],
        [other.port, false],
      ] as const) {
        const again = await connectTls(port, { ca, maxVersion, session });
        t.equal(again.isSessionReused(), resumed, maxVersion);
        await requestOver(again);
      }
      two.front.use({ ...tls, ticketKeys: randomBytes(48) });
      const rotated = await connectTls(two.port, { ca, maxVersion, session });
      t.notOk(rotated.isSessionReused(), "keys that were changed open no session of before");
      await requestOver(rotated);
      two.front.use(tls);
    }
  },
);

t.test("a client's certificate is of the authorities, or there is none", { skip }, async (t) => {
  const stranger = new Authority(t.testdir(), "stranger");
  const { port, taken } = await start(t, serverTls(issued("server"), ca));
  const asks = async (options: object) => await requestOver(await connectTls(port, { ca, ...options }));
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    t.equal(await asks({ maxVersion }), `over ${maxVersion} false`);
    t.equal(await asks({ maxVersion, ...issued("client") }), `over ${maxVersion} false`);
    const known = taken.length;
    const forged = asks({ maxVersion, ...stranger.issue("client", "DNS:localhost") });
    t.not(await forged.catch(() => "refused"), `over ${maxVersion} false`);
    t.equal(taken.length, known, "it has not come through");
  }
});
