import { inspect } from "node:util";
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import {
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../fixtures/connected-upstream.ts";
import { startFaultProxy } from "../fixtures/fault-proxy.ts";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { startRawUpstream } from "../fixtures/raw-upstream.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "client" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

t.test("no secret stands in an error or a notice, whatever goes wrong", async (t) => {
  const registry = await startUpstream(t, { password: "another" });
  const secrets = ["s3cret", Buffer.from("ci:s3cret").toString("base64"), "presigned"];
  const { upstream, notices } = connectUpstream(t, registry.url, { firstByteTimeout: 100 });
  const errors: unknown[] = [];
  const location = "http://127.0.0.1:1/?sig=presigned";
  for (const fault of [
    {},
    { hang: true },
    { reset: true },
    { status: 500, headers: { "set-cookie": "presigned" }, body: "s3cret" },
    { status: 307, headers: { location } },
    { status: 307, headers: { location: "ftp://presigned" } },
    { status: 307, headers: { location: "http://presigned:70000" } },
    { headers: { "docker-content-digest": "presigned" }, status: 200 },
  ]) {
    const remove = registry.fault(() => fault);
    errors.push(await upstream.openBlob(repository, layer.digest, 0, never).catch((error) => error));
    errors.push(await upstream.getManifest(repository, tagged("1")).catch((error) => error));
    remove();
  }
  const raw = await startRawUpstream(t, () => [
    "HTTP/1.1 200 OK\r\nLocation: presigned\r\nBad Header\r\n\r\n",
  ]);
  const garbled = connectUpstream(t, raw.url);
  errors.push(await upstreamError(garbled.upstream.headBlob(repository, layer.digest)));
  t.ok(errors.length > 10);
  const printed = inspect([errors, notices, garbled.notices, upstream], { depth: 20, showHidden: true });
  const json = JSON.stringify([errors, errors.map((error) => (error as Error).cause), notices]);
  for (const secret of secrets) {
    t.notOk(printed.includes(secret), "not when printed");
    t.notOk(json.includes(secret), "not as JSON");
  }
});

t.test("the error for a refused account names the upstream", async (t) => {
  const registry = await startUpstream(t, { password: "another" });
  const { upstream } = connectUpstream(t, registry.url, { name: "far" });
  const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
  t.match(error, { code: "auth", status: 401, message: /upstream far .*username and password/ });
  t.equal(registry.count({ kind: "manifest" }), 1, "and not asked again with the same");
});

t.test("no account, no credentials", async (t) => {
  const registry = await startUpstream(t, { anonymous: true });
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { auth: { kind: "none" } });
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.notOk("authorization" in (registry.requests[0]?.headers ?? {}));
});

t.test("a registry at the root of a host", async (t) => {
  const registry = await startUpstream(t, { path: "" });
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, new URL(registry.url.origin));
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  t.equal(registry.requests[0]?.path, "/v2/team/app/manifests/1");
});

t.test("what is no name by the grammar is not sent", async (t) => {
  const registry = await startUpstream(t);
  const { upstream } = connectUpstream(t, registry.url);
  for (const name of ["../../admin", "a/%2e%2e/b", "a?b", "a#b", "a\\b", "ä", "a//../../.."]) {
    await t.rejects(upstream.headManifest(name as typeof repository, tagged("1")), name);
  }
  t.equal(registry.count(), 0);
});

t.test("time-outs and refusals before an answer", async (t) => {
  const registry = await startUpstream(t);
  const hasty = connectUpstream(t, registry.url, { firstByteTimeout: 100 });
  const remove = registry.fault(() => ({ hang: true }));
  const late = await upstreamError(hasty.upstream.getManifest(repository, tagged("1")));
  t.match(late, { code: "timeout", message: /upstream main .*UND_ERR_HEADERS_TIMEOUT/ });
  t.match((late.cause as { code: string }).code, "UND_ERR_HEADERS_TIMEOUT");
  remove();
  await registry.until(() => registry.openSockets === 0);
  await registry.stop();
  const refused = await upstreamError(hasty.upstream.getManifest(repository, tagged("1")));
  t.match(refused, { code: "unreachable", message: /ECONNREFUSED/, status: undefined });
  t.match(
    hasty.of("upstream_error").map(({ code }) => code),
    ["timeout", "unreachable"],
  );
  const nowhere = connectUpstream(t, new URL("http://registry.invalid/"));
  t.equal((await upstreamError(nowhere.upstream.headManifest(repository, tagged("1")))).code, "unreachable");
});

t.test("TLS that is none is unreachable", async (t) => {
  const registry = await startUpstream(t);
  const { upstream } = connectUpstream(t, new URL(registry.url.href.replace("http:", "https:")));
  const error = await upstreamError(upstream.headManifest(repository, tagged("1")));
  t.match(error, { code: "unreachable", message: /over TLS/ });
});

t.test("what is not HTTP", async (t) => {
  const answers: Record<string, [string, string]> = {
    "another protocol": ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"],
    "two lengths": ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "protocol"],
    "a length that is none": ["HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", "protocol"],
    "length and chunks": [
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      "protocol",
    ],
    "too many headers": [`HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}\r\n\r\n`, "protocol"],
    "a bare line feed": ["HTTP/1.1 200 OK\r\nContent-Length: 5\nX: y\r\n\r\nhello", "protocol"],
  };
  for (const [name, [bytes, code]] of Object.entries(answers)) {
    const raw = await startRawUpstream(t, () => [bytes, "end"]);
    const { upstream } = connectUpstream(t, raw.url);
    const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
    t.equal(error.code, code, `${name}: ${error.message}`);
    t.equal(raw.heads.length, 1, "asked once");
  }
});

t.test("headers up to 64 KiB are read", async (t) => {
  const raw = await startRawUpstream(t, () => [
    `HTTP/1.1 200 OK\r\nX: ${"x".repeat(60_000)}\r\nContent-Length: 2\r\n\r\n{}`,
  ]);
  const { upstream } = connectUpstream(t, raw.url);
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
});

t.test("a body that ends with the connection", async (t) => {
  const raw = await startRawUpstream(t, () => ["HTTP/1.0 200 OK\r\n\r\nall there is", "end"]);
  const { upstream } = connectUpstream(t, raw.url);
  const answer = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.equal(answer.size, undefined);
  t.equal((await drain(answer.body)).bytes.toString(), "all there is");
});

t.test("bytes after an answer spoil nothing but the connection", async (t) => {
  const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
  const raw = await startRawUpstream(t, () => [`${ok}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`]);
  const { upstream } = connectUpstream(t, raw.url);
  for (let round = 0; round < 3; round++) {
    const answer = await upstream.getManifest(repository, tagged("1"));
    t.equal(answer.kind === "found" && answer.body.toString(), "{}");
  }
});

t.test("a small body may not trickle for ever", async (t) => {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { idleTimeout: 60 });
  registry.fault(() => ({ throttle: 100 }));
  const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
  t.equal(error.code, "timeout");
  await registry.until(() => registry.openSockets === 0);
  await idle(upstream);
});

t.test("a kept connection that upstream closes at the moment of use is no failure", async (t) => {
  const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
  let answered = 0;
  const raw = await startRawUpstream(t, () => (++answered === 2 ? ["end"] : [ok]));
  const { upstream, of } = connectUpstream(t, raw.url, { maxConnections: 1 });
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  t.equal(raw.heads.length, 3);
  t.equal(raw.connections, 2);
  t.same(of("upstream_error"), []);
  const closing = await startRawUpstream(t, () => ["end"]);
  const other = connectUpstream(t, closing.url);
  t.equal((await upstreamError(other.upstream.getManifest(repository, tagged("1")))).code, "unreachable");
  t.equal(closing.heads.length, 1, "a new connection that is closed is one");
});

t.test("revalidating again and again needs no new connection", async (t) => {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url);
  for (let round = 0; round < 20; round++) {
    await upstream.headManifest(repository, tagged("1"));
    await idle(upstream);
  }
  t.ok(registry.connections <= 3, `${registry.connections} connections for 20 times HEAD`);
});

t.test("no more connections than configured, and small requests do not wait for layers", async (t) => {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  const blobs = Array.from({ length: 12 }, (_, at) =>
    registry.addBlob(repository, randomBytesFor(`${at}`, 1000)),
  );
  const gate = Promise.withResolvers<void>();
  registry.fault(({ kind }) => (kind === "blob" ? { holdUntil: gate.promise } : undefined));
  const { upstream } = connectUpstream(t, registry.url, { maxConnections: 4 });
  const transfers = blobs.map(async (digest) => {
    const answer = await upstream.openBlob(repository, digest, 0, never);
    return answer.kind === "found" ? (await drain(answer.body)).bytes.length : 0;
  });
  await registry.until(() => registry.count({ kind: "blob" }) === 3);
  for (let round = 0; round < 5; round++) {
    t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found" });
  }
  t.equal(registry.count({ kind: "blob" }), 3, "one connection is left for small requests");
  gate.resolve();
  t.same(
    await Promise.all(transfers),
    blobs.map(() => 1000),
  );
  t.ok(registry.connections <= 4, `${registry.connections} connections`);
  await idle(upstream);
});

t.test("a bad link", async (t) => {
  const registry = await startUpstream(t);
  const link = await startFaultProxy(t, registry.url);
  const bytes = randomBytesFor("link", 1_000_000);
  const digest = registry.addBlob(repository, bytes);
  const fetch = async (from: number, timeouts = {}) => {
    const { upstream } = connectUpstream(t, link.url, timeouts);
    try {
      return await drain(found(await upstream.openBlob(repository, digest, from, never)).body);
    } finally {
      await upstream.close();
    }
  };
  link.toxics = { limitData: 400_000 };
  const part = await fetch(0);
  t.match(part.error, { code: "truncated" });
  link.toxics = { latency: 1, bandwidth: 50_000_000 };
  const rest = await fetch(part.bytes.length);
  t.equal(rest.error, undefined);
  t.ok(Buffer.concat([part.bytes, rest.bytes]).equals(bytes), "what is missing can be fetched");
  link.toxics = { timeout: 0 };
  t.equal((await upstreamError(fetch(0, { firstByteTimeout: 200 }))).code, "timeout");
  link.toxics = { resetPeer: 0 };
  t.equal((await upstreamError(fetch(0))).code, "unreachable");
  await link.down();
  t.equal((await upstreamError(fetch(0))).code, "unreachable");
  await eventually("every socket closed", () => link.openSockets === 0);
});
