import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { type EventEmitter, once } from "node:events";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startPlainListener } from "../fixtures/plain-listener.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("shapes that proxies and origins read differently are refused", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  upstream.addImage("a", "1", makeImage({ layers: [10] }));
  const line = "GET /v2/a/manifests/1 HTTP/1.1\r\n";
  const shapes: [string, string][] = [
    ["two Host headers", `${line}Host: a\r\nHost: b\r\n\r\n`],
    ["no Host header", `${line}\r\n`],
    [
      "absolute form",
      "GET http://169.254.169.254/v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
    ["another transfer coding", `${line}Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n`],
    [
      "length and chunks",
      `${line}Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["noise", "hello\r\n\r\n"],
  ];
  for (const [name, bytes] of shapes) {
    t.match(await mirror.raw(Buffer.from(bytes, "latin1")), /^HTTP\/1\.1 400 /, name);
  }
  t.equal(upstream.count(), 0);
  t.equal((await mirror.get("/v2/a/manifests/1")).status, 200, "and it still serves");
});

t.test("a body behind 2,100 small headers is not taken for a second request (CVE-2026-58044)", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const inner = "GET /v2/_catalog HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const method of ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "POST", "PATCH"]) {
    const headers = Array.from({ length: 2_100 }, (_, i) => `a${i}:`).join("\r\n");
    const text = await mirror.raw(
      `${method} /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`,
    );
    t.equal(text.match(/HTTP\/1\.1 /g)?.length, 1, `${method}: one request, one answer`);
    t.notMatch(text, "repositories");
  }
  t.equal(upstream.count(), 0);
});

t.test("a header named __proto__ is a header like any other", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  t.match(
    await mirror.raw("GET /v2/ HTTP/1.1\r\nHost: a\r\n__proto__: x\r\nConnection: close\r\n\r\n"),
    /^HTTP\/1\.1 200 /,
  );
});

t.test("a large unwanted body does not keep the connection or the memory", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const socket = connect(Number(mirror.url.port), mirror.url.hostname);
  socket.on("error", () => {});
  socket.write("PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
  const [first] = (await once(socket, "data")) as [Buffer];
  t.match(first.toString(), /^HTTP\/1\.1 405 /);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  for (let i = 0; i < 64 && !socket.destroyed; i++) socket.write(Buffer.alloc(64 * 1024));
  await closed;
  t.pass("the mirror closed the connection");
});

t.test(
  "draining: /readyz says 404 at once and to the end, transfers under way finish, then nothing listens",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream, { drainDelay: 300 });
    const bytes = randomBytesFor("drain", 300_000);
    const digest = upstream.addBlob("a", bytes);
    const gate = Promise.withResolvers<void>();
    upstream.fault(({ kind }) =>
      kind === "blob" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
    );
    t.equal((await mirror.get("/readyz")).status, 200);
    t.equal((await mirror.get("/livez")).status, 200);
    const transfer = mirror.get(`/v2/a/blobs/${digest}`);
    await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
    const drained = mirror.app.drain();
    t.equal((await mirror.get("/readyz")).status, 404);
    t.equal((await mirror.get("/livez")).status, 200, "alive all the same");
    let late = await mirror.get("/v2/");
    while (late.status === 200) late = await mirror.get("/v2/");
    t.match(late, { status: 503, headers: { connection: "close", "retry-after": "1" } });
    t.equal((await mirror.get("/readyz")).status, 404, "whoever watches is still told, and ends no transfer");
    gate.resolve();
    t.ok((await transfer).body.equals(bytes));
    await drained;
    await t.rejects(mirror.get("/readyz"), { code: "ECONNREFUSED" });
  },
);

t.test("stop cuts what is left and leaves nothing in the spool", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("a", randomBytesFor("stop", 300_000));
  upstream.fault(({ kind }) => (kind === "blob" ? { stallAfter: 100_000 } : undefined));
  const whole = mirror.get(`/v2/a/blobs/${digest}`).then(
    ({ complete }) => complete,
    () => false,
  );
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  await mirror.app.stop();
  t.notOk(await whole);
  t.strictSame(readdirSync(join(mirror.directory, "spool")), []);
});

t.test("connections beyond what there are handles for: 503, probes answered, and it goes on", async (t) => {
  const failures: unknown[] = [];
  const { url, ended } = await startPlainListener(t, Buffer.from("{}"), {
    maxConnections: 2,
    unexpected: (error) => failures.push(error),
  });
  const hold = async () => {
    const socket = connect(Number(url.port), url.hostname);
    await once(socket, "connect");
    // Half a request: not idle, so not closed to make room.
    socket.write("GET /v2/ HTTP/1.1\r\n");
    return socket;
  };
  const ask = async (path: string) =>
    (await fetch(new URL(path, url), { headers: { connection: "close" } })).status;
  t.equal(await ask("/v2/"), 200);
  const [first, second] = [await hold(), await hold()];
  t.equal(await ask("/v2/"), 503);
  t.equal(await ask("/readyz"), 200);
  first.destroy();
  second.end("Host: a\r\nConnection: close\r\n\r\n");
  await ended(4);
  let status = await ask("/v2/");
  while (status === 503) status = await ask("/v2/");
  t.equal(status, 200);
  t.same(failures, []);
});

t.test("accepting that fails is told, and the node serves on", async (t) => {
  const channel = "tracing:net.server.listen:asyncStart";
  const servers: EventEmitter[] = [];
  const heard = (message: unknown): void => void servers.push((message as { server: EventEmitter }).server);
  subscribe(channel, heard);
  t.teardown(() => unsubscribe(channel, heard));
  const told: unknown[] = [];
  const { url } = await startPlainListener(t, Buffer.from("{}"), { unexpected: (error) => told.push(error) });
  t.ok(servers.length > 0);
  const failure = Object.assign(new Error("accept EMFILE"), { code: "EMFILE" });
  for (const server of servers) server.emit("error", failure);
  t.ok(told.length === 1 && told[0] === failure, "nobody else listens: the process would have ended");
  t.equal((await fetch(new URL("/v2/", url))).status, 200);
});
