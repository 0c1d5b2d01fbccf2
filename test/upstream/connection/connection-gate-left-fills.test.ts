// Downloads whose clients have gone: they go on, and give their connections to whoever waits for one.
import { once } from "node:events";
import { connect } from "node:net";
import t from "tap";
import { randomBytesFor } from "../../fixtures/images.ts";
import { gate } from "../../fixtures/manual-time.ts";
import { startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

t.test("cold blobs whose clients have gone hold no connection that somebody waits for", async (t) => {
  const upstream = await startUpstream(t);
  // Of four connections three are for transfers.
  const mirror = await startMirror(t, upstream, {
    upstream: { maxConnections: 4, segments: 1, idleTimeout: 600_000, firstByteTimeout: 600_000 },
    limits: { exempt: ["127.0.0.0/8"] },
  });
  const large = [1, 2, 3, 4, 5].map((seed) => randomBytesFor(`large ${seed}`, 300_000 + seed));
  const digests = large.map((bytes) => upstream.addBlob("team/app", bytes));
  const small = randomBytesFor("small", 1_000);
  const wanted = upstream.addBlob("team/app", small);
  const released = gate();
  const path = (digest: string) => `/v2/team/app/blobs/${digest}`;
  upstream.fault(({ kind, reference, headers }) =>
    kind === "blob" && reference !== wanted && headers.range === undefined
      ? { stallAfter: 150_000, releaseOn: released.opened }
      : undefined,
  );
  const clients = digests.map((digest) => {
    const socket = connect(Number(mirror.url.port), mirror.url.hostname);
    socket.on("error", () => {});
    socket.write(`GET ${path(digest)} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
    return socket;
  });
  await Promise.all(clients.slice(0, 3).map((socket) => once(socket, "data")));
  for (const socket of clients) socket.destroy();
  const answer = await mirror.get(path(wanted));
  t.equal(answer.status, 200);
  t.ok(answer.body.equals(small));
  released.open();
  // A client that left before its request was read has begun nothing.
  for (const digest of digests.slice(0, 3))
    await mirror.line((line) => line.msg === "fill committed" && line.digest === digest);
  t.ok(
    upstream.requests.some(({ headers }) => headers.range === "bytes=150000-"),
    "one of them has given way, and went on from its byte",
  );
  for (const [at, bytes] of large.entries())
    t.ok((await mirror.get(path(digests[at] as string))).body.equals(bytes));
});
