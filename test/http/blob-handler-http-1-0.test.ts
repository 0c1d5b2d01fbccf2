// HTTP/1.0 has no chunks: a body without a length ends where its connection does, also when it breaks off.
import t from "tap";
import { randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { openRawClient } from "../fixtures/raw-client.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const mebibyte = 1024 * 1024;
const bytes = randomBytesFor("layer", 3 * mebibyte);

function ask(digest: string, more = ""): string {
  return `GET /v2/a/blobs/${digest} HTTP/1.0\r\n${more}\r\n`;
}

t.test("a blob without a length has one for HTTP/1.0, once all of it is here", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("a", bytes);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { noLength: true, stallAfter: 2 * mebibyte, releaseOn: gate.promise } : undefined,
  );
  const first = await openRawClient(t, mirror.url);
  first.write(ask(digest));
  const later = await openRawClient(t, mirror.url);
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  later.write(ask(digest, "Range: bytes=10-19\r\n"));
  const chunked = await openRawClient(t, mirror.url);
  chunked.write(`GET /v2/a/blobs/${digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  await chunked.received(mebibyte);
  t.equal(first.length, 0, "nothing is announced before");
  gate.resolve();
  t.notOk(await first.closed, "in good order");
  const [answer] = first.answers();
  t.equal(answer?.headers["content-length"], String(bytes.length));
  t.ok(answer?.body.equals(bytes));
  await later.closed;
  t.equal(later.answers()[0]?.status, 206);
  t.ok(later.answers()[0]?.body.equals(bytes.subarray(10, 20)));
  await chunked.closed;
  t.equal(upstream.count({ kind: "blob" }), 1);
});

t.test("what turns out to be wrong is no answer for HTTP/1.0, where it would look whole", async (t) => {
  const upstream = await startUpstream(t);
  // Asked for parts, as over a long link or by a slow machine, upstream would send nothing too much.
  const mirror = await startMirror(t, upstream, { upstream: { segments: 1 } });
  for (const fault of [{ corrupt: true }, { extraBytes: 9 }]) {
    const digest = upstream.addBlob("a", randomBytesFor(JSON.stringify(fault), 3 * mebibyte));
    upstream.fault(({ kind }) => (kind === "blob" ? { noLength: true, ...fault } : undefined));
    const client = await openRawClient(t, mirror.url);
    client.write(ask(digest));
    await client.closed;
    t.equal(client.answers()[0]?.status, 502, JSON.stringify(fault));
  }
});

t.test("a client that leaves while its blob is held back is an aborted request", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("a", bytes);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { noLength: true, stallAfter: mebibyte, releaseOn: gate.promise } : undefined,
  );
  const client = await openRawClient(t, mirror.url);
  client.write(ask(digest));
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  client.socket.destroy();
  t.match(await mirror.line(({ msg, route }) => msg === "request" && route === "blob"), {
    result: "aborted",
    aborted_by: "client",
    level: "info",
  });
  gate.resolve();
});
