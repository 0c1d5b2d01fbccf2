import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import type { BlobAnswer } from "../../src/ports/upstream-answer.ts";
import {
  byDigest,
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../fixtures/connected-upstream.ts";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { type Fault, type Owner, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000], seed: "http-upstream" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

async function setUp(t: Owner, changes: Parameters<typeof connectUpstream>[2] = {}) {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  return { registry, ...connectUpstream(t, registry.url, changes) };
}

t.test("a blob from its beginning and from the middle", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  const whole = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.match(whole, { size: 300_000, offset: 0 });
  t.ok((await drain(whole.body)).bytes.equals(layer.bytes));
  t.equal(registry.requests[0]?.headers.range, undefined);
  const rest = found(await upstream.openBlob(repository, layer.digest, 123_456, never));
  t.match(rest, { size: 300_000, offset: 123_456 });
  t.ok((await drain(rest.body)).bytes.equals(layer.bytes.subarray(123_456)));
  t.equal(registry.requests[1]?.headers.range, "bytes=123456-");
  const bytes = of("upstream_bytes");
  t.ok(bytes.length <= 2, "bytes are reported in coarse steps");
  t.equal(
    bytes.reduce((sum, notice) => sum + notice.bytes, 0),
    300_000 + 300_000 - 123_456,
  );
  await idle(upstream);
});

t.test("a part of a blob", async (t) => {
  const { registry, upstream } = await setUp(t);
  t.equal(upstream.roundTrip, undefined, "nothing has been asked");
  const part = (from: number, to: number) => upstream.openBlob(repository, layer.digest, from, never, { to });
  for (const [from, to] of [
    [0, 1],
    [0, 100_000],
    [123_456, 200_000],
  ] as const) {
    const { body, ...answer } = found(await part(from, to));
    t.same(answer, { kind: "found", offset: from, end: to, size: 300_000 });
    t.ok((await drain(body)).bytes.equals(layer.bytes.subarray(from, to)));
  }
  const { body, ...last } = found(await part(200_000, 400_000));
  t.same(last, { kind: "found", offset: 200_000, size: 300_000 }, "no end of its own at the end of the blob");
  t.equal((await drain(body)).bytes.length, 100_000);
  t.type(upstream.roundTrip, "number");
  const wrong = registry.fault(() => ({ headers: { "content-range": "bytes 1000-2000/300000" } }));
  t.equal((await upstreamError(part(1000, 2000))).code, "range_refused", "more than was asked for");
  wrong();
  registry.fault(() => ({ ignoreRange: true }));
  const whole = found(await part(1000, 2000));
  t.match(whole, { offset: 0, size: 300_000, end: undefined });
  t.equal((await drain(whole.body)).bytes.length, 300_000);
  await idle(upstream);
});

t.test("ranges upstream answers otherwise", async (t) => {
  const { registry, upstream } = await setUp(t);
  const open = (from: number): Promise<BlobAnswer> =>
    upstream.openBlob(repository, layer.digest, from, never);
  const ignored = registry.fault(() => ({ ignoreRange: true }));
  const answer = found(await open(1000));
  t.match(answer, { offset: 0, size: 300_000 }, "the whole again says so");
  t.ok((await drain(answer.body)).bytes.equals(layer.bytes));
  ignored();
  const refused = found(await open(300_000));
  t.match(refused, { offset: 0, size: 300_000 }, "416 is no answer to a question for all of it");
  t.ok((await drain(refused.body)).bytes.equals(layer.bytes));
  for (const header of [
    undefined,
    "bytes 1001-299999/300000",
    "bytes 0-299999/300000",
    "bytes 1000-299999/*",
    "bytes 1000-999/300000",
    "bytes 1000-300000/300000",
    "items 1000-299999/300000",
  ]) {
    const remove = registry.fault(() => ({ headers: { "content-range": header } }));
    t.equal((await upstreamError(open(1000))).code, "range_refused", String(header));
    remove();
  }
  registry.fault(() => ({ headers: { "content-range": "bytes 1000-299999/400000" } }));
  const { bytes, error } = await drain(found(await open(1000)).body);
  t.match(error, { code: "truncated" }, "less than the range promised is not the end");
  t.equal(bytes.length, 299_000);
});

t.test("a blob that breaks off gives what came, then an error", async (t) => {
  const { registry, upstream, of } = await setUp(t, { idleTimeout: 1_000 });
  const cases: Record<string, [Fault, number, string]> = {
    "closed midway": [{ cutAfter: 100_000 }, 100_000, "truncated"],
    "closed midway, chunked": [{ cutAfter: 100_000, noLength: true }, 100_000, "truncated"],
    "closed after the headers": [{ cutAfter: 0 }, 0, "truncated"],
    "silent midway": [{ stallAfter: 100_000 }, 100_000, "timeout"],
    "silent after the headers": [{ stallAfter: 0 }, 0, "timeout"],
  };
  for (const [name, [fault, received, code]] of Object.entries(cases)) {
    const remove = registry.fault(() => fault);
    const answer = found(await upstream.openBlob(repository, layer.digest, 0, never));
    t.equal(answer.size, fault.noLength ? undefined : 300_000);
    const { bytes, error } = await drain(answer.body);
    t.ok(bytes.equals(layer.bytes.subarray(0, received)), name);
    t.match(error, { name: "UpstreamError", code }, name);
    remove();
  }
  const remove = registry.fault(() => ({ cutAfter: 100_000, reset: true }));
  const { error } = await drain(found(await upstream.openBlob(repository, layer.digest, 0, never)).body);
  t.match(error, { code: "truncated" }, "reset midway");
  remove();
  t.equal(of("upstream_error").length, Object.keys(cases).length + 1);
  await registry.until(() => registry.openSockets === 0);
  await idle(upstream);
});

t.test("wrong and surplus bytes are passed on as they are: the digest is the cache's to check", async (t) => {
  const { registry, upstream } = await setUp(t);
  const remove = registry.fault(() => ({ corrupt: true }));
  const wrong = found(await upstream.openBlob(repository, layer.digest, 0, never));
  const { bytes, error } = await drain(wrong.body);
  t.equal(error, undefined);
  t.equal(bytes.length, layer.bytes.length);
  t.notOk(bytes.equals(layer.bytes));
  remove();
  registry.fault(() => ({ extraBytes: 10 }));
  t.match(await upstream.openBlob(repository, layer.digest, 0, AbortSignal.abort()).catch((e) => e), {
    name: "AbortError",
  });
  const longer = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.equal(longer.size, 300_010);
  t.equal((await drain(longer.body)).bytes.length, 300_010);
});

t.test("labels that say nothing are not listened to", async (t) => {
  const { registry, upstream } = await setUp(t);
  for (const coding of [
    "",
    "identity",
    "aws-chunked",
    "binary",
    "utf-8",
    "identity, aws-chunked",
    "Identity",
  ]) {
    registry.fault(() => ({ headers: { "content-encoding": coding } }));
    t.match(await upstream.headBlob(repository, layer.digest), { kind: "found", size: 300_000 }, coding);
    const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
    t.match(blob, { size: 300_000, doubt: undefined }, coding);
    t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
    t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", body: image.manifest });
    t.match(await upstream.headManifest(repository, tagged("1")), { size: image.manifest.length });
    t.match(await upstream.listTags(repository, 10, undefined), { kind: "found" });
  }
});

t.test(
  "a blob with a label of something else is given with that doubt, but not beyond its first byte",
  async (t) => {
    const { registry, upstream } = await setUp(t);
    for (const [headers, doubt] of [
      [{ "content-type": "text/html; charset=utf-8" }, /sent a web page/],
      [{ "content-encoding": "x-gzip" }, /as x-gzip, unasked/],
      [{ "content-encoding": "aws-chunked, zstd" }, /as zstd, unasked/],
    ] as const) {
      const labelled = { headers: { ...headers, "docker-content-digest": undefined } } as const;
      registry.fault(() => ({ ...labelled, ignoreRange: true }));
      const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
      t.match(blob, { size: 300_000, doubt });
      t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
      const rest = upstream.openBlob(repository, layer.digest, 1_000, never);
      t.match(await upstreamError(rest), { code: "protocol", message: doubt });
      registry.fault(() => labelled);
      const part = found(await upstream.openBlob(repository, layer.digest, 1_000, never));
      t.match(
        part,
        { size: 300_000, offset: 1_000, doubt: undefined },
        "a gateway does not answer with parts",
      );
      t.ok((await drain(part.body)).bytes.equals(layer.bytes.subarray(1_000)));
      t.match(await upstream.headBlob(repository, layer.digest), { kind: "found", size: 300_000 });
    }
    const headers = { "content-type": "text/html", "docker-content-digest": layer.digest };
    registry.fault(() => ({ headers, ignoreRange: true }));
    t.match(await upstream.headBlob(repository, layer.digest), { kind: "found", size: 300_000 });
    await idle(upstream);
  },
);

t.test("a web page grants no right to a blob", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(() => ({ html: true }));
  t.match(await upstream.headBlob(repository, layer.digest), { kind: "found", doubt: /web page/ });
  const error = await upstreamError(upstream.headManifest(repository, byDigest(image.digest)));
  t.match(error, { code: "protocol", message: /web page/ });
  await idle(upstream);
});

t.test("leaving a blob early closes the transfer", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  const big = registry.addBlob(repository, randomBytesFor("big", 32 * 1024 * 1024));
  const { body } = found(await upstream.openBlob(repository, big, 0, never));
  for await (const chunk of body) {
    t.ok(chunk.length > 0);
    break;
  }
  await registry.until(() => registry.openSockets === 0 && registry.count({ finished: false }) === 0);
  t.ok(registry.bytesSent < 32 * 1024 * 1024);
  await idle(upstream);
  t.same(of("upstream_error"), [], "which is not upstream's failure");
});

t.test("the signal ends a transfer at any time, with its own reason", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  const reason = new Error("nobody wants it");
  const waiting = new AbortController();
  const remove = registry.fault(() => ({ hang: true }));
  const unanswered = upstream.openBlob(repository, layer.digest, 0, waiting.signal);
  await registry.until(() => registry.count() === 1);
  waiting.abort(reason);
  await t.rejects(unanswered, reason);
  remove();
  const running = new AbortController();
  registry.fault(() => ({ stallAfter: 1000 }));
  const { body } = found(await upstream.openBlob(repository, layer.digest, 0, running.signal));
  await t.rejects(async () => {
    for await (const _ of body) running.abort(reason);
  }, reason);
  const unread = new AbortController();
  await upstream.openBlob(repository, layer.digest, 0, unread.signal);
  unread.abort(reason);
  await registry.until(() => registry.openSockets === 0);
  await idle(upstream);
  t.same(of("upstream_error"), []);
});

t.test("a reader that stops makes upstream wait, in bounded memory", async (t) => {
  const { registry, upstream } = await setUp(t, { idleTimeout: 1_000 });
  const size = 64 * 1024 * 1024;
  const big = registry.addBlob(repository, randomBytesFor("wait", size));
  const { body } = found(await upstream.openBlob(repository, big, 0, never));
  const reader = body[Symbol.asyncIterator]();
  let received = (await reader.next()).value.length;
  // Another transfer times out meanwhile: a reader's pause is not upstream's silence.
  registry.fault(({ reference }) => (reference === layer.digest ? { stallAfter: 0 } : undefined));
  const silent = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.match((await drain(silent.body)).error, { code: "timeout" });
  t.ok(registry.bytesSent < size / 2, `${registry.bytesSent} bytes left the server`);
  for (let step = await reader.next(); !step.done; step = await reader.next()) received += step.value.length;
  t.equal(received, size);
});

t.test("close ends what is under way", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(() => ({ stallAfter: 1000 }));
  const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
  const ended = drain(body);
  await upstream.close();
  t.match((await ended).error, { name: "UpstreamError" });
  t.match(await upstreamError(upstream.headBlob(repository, layer.digest)), { code: "unreachable" });
  await registry.until(() => registry.openSockets === 0);
  await idle(upstream);
});

t.test("background transfers wait for everything else", async (t) => {
  const { registry, upstream } = await setUp(t, { maxConnections: 2 });
  const open = (from: number, use?: "background"): Promise<BlobAnswer> =>
    upstream.openBlob(repository, layer.digest, from, never, { use });
  const first = found(await open(0));
  const last = open(3, "background");
  const second = open(2);
  await drain(first.body);
  await drain(found(await second).body);
  await drain(found(await last).body);
  t.same(
    registry.requests.map(({ headers }) => headers.range),
    [undefined, "bytes=2-", "bytes=3-"],
  );
  await idle(upstream);
});
