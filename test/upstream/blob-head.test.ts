import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { connectUpstream, idle, repository, upstreamError } from "../fixtures/connected-upstream.ts";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { type Owner, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000], seed: "blob-head" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const there = { kind: "found", size: 300_000 };

/** A registry that answers HEAD of blobs with `status`. */
async function setUp(t: Owner, status: number, changes: Parameters<typeof connectUpstream>[2] = {}) {
  const clock = new ManualClock();
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  registry.fault(({ method }) => (method === "HEAD" ? { status } : undefined));
  // Besides what a 401 makes the mirror ask at /v2/.
  const asked = () =>
    registry.requests
      .filter(({ kind }) => kind === "blob")
      .map(({ method, headers }) => `${method} ${headers.range ?? ""}`.trim());
  return { registry, clock, asked, ...connectUpstream(t, registry.url, changes, clock.read) };
}

for (const status of [401, 405])
  t.test(`HEAD of a blob answered ${status} is asked again by its first byte`, async (t) => {
    const { registry, upstream, asked, of } = await setUp(t, status);
    t.same(await upstream.headBlob(repository, layer.digest), there);
    t.same(asked(), ["HEAD", "GET bytes=0-0"]);
    t.same(
      registry.requests.filter(({ kind }) => kind === "blob").map(({ bytes }) => bytes),
      [0, 1],
    );
    t.same(of("upstream_error"), []);
    await idle(upstream);
  });

t.test("a refused HEAD is remembered for ten minutes", async (t) => {
  const { upstream, clock, asked } = await setUp(t, 405);
  await upstream.headBlob(repository, layer.digest);
  clock.advance(10 * 60_000 - 1);
  t.same(await upstream.headBlob(repository, layer.digest), there);
  t.same(asked(), ["HEAD", "GET bytes=0-0", "GET bytes=0-0"]);
  clock.advance(1);
  t.same(await upstream.headBlob(repository, layer.digest), there);
  t.same(asked().slice(3), ["HEAD", "GET bytes=0-0"]);
  clock.advance(-3_600_000);
  await upstream.headBlob(repository, layer.digest);
  t.same(asked().slice(5), ["HEAD", "GET bytes=0-0"], "also when the clock was set back");
});

t.test("the absence of a blob does not show that HEAD is refused", async (t) => {
  const { registry, upstream, asked } = await setUp(t, 405);
  registry.removeBlob(repository, layer.digest);
  for (let round = 0; round < 2; round++)
    t.match(await upstream.headBlob(repository, layer.digest), { kind: "absent" });
  t.same(asked(), ["HEAD", "GET bytes=0-0", "HEAD", "GET bytes=0-0"]);
});

t.test("an account that GET refuses too is refused", async (t) => {
  const { registry, upstream, asked } = await setUp(t, 401);
  registry.fault(() => ({ status: 401 }));
  t.match(await upstreamError(upstream.headBlob(repository, layer.digest)), { code: "auth", status: 401 });
  t.same(asked(), ["HEAD", "GET bytes=0-0"]);
});

t.test("a server that ignores the range is not listened to", async (t) => {
  const { registry, upstream } = await setUp(t, 405);
  const size = 32 * 1024 * 1024;
  const big = registry.addBlob(repository, randomBytesFor("big", size));
  registry.fault(({ method }) => (method === "GET" ? { ignoreRange: true } : undefined));
  t.same(await upstream.headBlob(repository, big), { kind: "found", size });
  await registry.until(() => registry.count({ finished: false }) === 0);
  t.ok(registry.bytesSent < size / 2, `${registry.bytesSent} bytes were sent`);
  await idle(upstream);
});

t.test("an empty blob has no first byte", async (t) => {
  const { registry, upstream } = await setUp(t, 405);
  const empty = registry.addBlob(repository, Buffer.alloc(0));
  const headers = { "content-range": "bytes */0" };
  const remove = registry.fault(({ method }) => (method === "GET" ? { status: 416, headers } : undefined));
  t.same(await upstream.headBlob(repository, empty), { kind: "found", size: 0 });
  remove();
  registry.fault(({ method }) => (method === "GET" ? { status: 416 } : undefined));
  t.match(await upstreamError(upstream.headBlob(repository, empty)), { code: "range_refused" });
});

t.test("a storage whose signed addresses are for GET alone", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true, path: "" });
  storage.addBlob("bucket", layer.bytes);
  storage.fault(({ method }) => (method === "HEAD" ? { status: 403 } : undefined));
  const location = `${storage.url.origin}/v2/bucket/blobs/${layer.digest}?sig=1`;
  registry.fault(() => ({ status: 307, headers: { location } }));
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo: ["127.0.0.1"] });
  t.same(await upstream.headBlob(repository, layer.digest), there);
  t.same(
    storage.requests.map(({ method }) => method),
    ["HEAD", "GET"],
  );
});

t.test("asking for the first byte does not wait behind layers", async (t) => {
  const { registry, upstream } = await setUp(t, 405, { maxConnections: 2 });
  const slow = registry.addBlob(repository, randomBytesFor("slow", 1000));
  registry.fault(({ reference }) => (reference === slow ? { hang: true } : undefined));
  const abort = new AbortController();
  const transfer = upstream.openBlob(repository, slow, 0, abort.signal);
  await registry.until(() => registry.count() === 1);
  t.same(await upstream.headBlob(repository, layer.digest), there);
  abort.abort();
  await t.rejects(transfer);
});
