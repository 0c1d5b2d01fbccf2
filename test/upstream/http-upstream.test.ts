import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { largestManifest } from "../../src/oci/manifest.ts";
import { manifestAccept, mediaTypes } from "../../src/oci/media-type.ts";
import type { ManifestAnswer } from "../../src/ports/upstream-answer.ts";
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
import { gate } from "../fixtures/manual-time.ts";
import { type Fault, type Owner, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000], seed: "http-upstream" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

async function setUp(t: Owner, changes: Parameters<typeof connectUpstream>[2] = {}) {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  return { registry, ...connectUpstream(t, registry.url, changes) };
}

t.test("a manifest comes as it was stored, by tag and by digest", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  for (const reference of [tagged("1"), byDigest(image.digest)]) {
    const answer = found(await upstream.getManifest(repository, reference));
    t.ok(answer.body.equals(image.manifest));
    t.match(answer, { digest: image.digest, mediaType: image.mediaType });
  }
  const [first] = registry.requests;
  t.match(first, {
    path: "/artifactory/api/docker/docker-local/v2/team/app/manifests/1",
    headers: {
      accept: manifestAccept,
      "accept-encoding": "identity",
      "user-agent": /^entrepot\/\d+\.\d+\.\d+/,
      authorization: `Basic ${Buffer.from("ci:s3cret").toString("base64")}`,
    },
  });
  t.match(of("upstream_request"), [{ type: "manifest", method: "GET", status: 200, ttfbMs: Number }, {}]);
  t.equal(
    of("upstream_bytes").reduce((sum, { bytes }) => sum + bytes, 0),
    2 * image.manifest.length,
  );
});

t.test("HEAD gives digest, type and size, and no body", async (t) => {
  const { registry, upstream } = await setUp(t);
  const size = image.manifest.length;
  t.same(await upstream.headManifest(repository, tagged("1")), {
    kind: "found",
    digest: image.digest,
    mediaType: image.mediaType,
    size,
  });
  t.same(await upstream.headBlob(repository, layer.digest), { kind: "found", size: layer.bytes.length });
  registry.fault(() => ({ headers: { "content-length": "0", "docker-content-digest": undefined } }));
  t.match(await upstream.headManifest(repository, tagged("1")), { size: undefined, digest: undefined });
  t.equal(registry.bytesSent, 0);
  t.equal(registry.count({ method: "HEAD" }), 3);
});

t.test("HEAD in the background has few connections, and is not asked again by GET", async (t) => {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { maxConnections: 4 });
  const held = gate();
  registry.fault(({ method }) => (method === "HEAD" ? { holdUntil: held.opened } : undefined));
  const ask = () => upstream.headManifest(repository, tagged("1"), "background");
  t.ok(upstream.spare);
  const first = ask();
  t.notOk(upstream.spare, "a quarter of the connections");
  const second = ask();
  const client = upstream.headManifest(repository, tagged("1"));
  await registry.until(() => registry.count({ method: "HEAD" }) === 2);
  held.open();
  for (const head of [first, second, client]) t.match(await head, { digest: image.digest });
  for (const status of [403, 404, 405]) {
    registry.forget();
    const over = registry.fault(() => ({ status }));
    await ask().catch(() => {});
    over();
    t.equal(registry.count({ method: "GET", kind: "manifest" }), 0, `${status}`);
  }
});

t.test("what is left of what upstream allows", async (t) => {
  const { registry, upstream } = await setUp(t);
  t.equal(upstream.allowance, 1);
  registry.fault(() => ({
    headers: { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "40;w=21600" },
  }));
  await upstream.headManifest(repository, tagged("1"), "background");
  t.equal(upstream.allowance, 0.4);
});

t.test("every answer carries what a mirror between us and the registry says of it", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(() => ({ headers: { age: "30", "cache-status": "far; hit" } }));
  const marks = { kind: "found", age: 30, cacheStatus: "far; hit" };
  t.match(await upstream.headManifest(repository, tagged("1")), marks);
  t.match(await upstream.getManifest(repository, tagged("1")), marks);
  t.match(await upstream.headBlob(repository, layer.digest), marks);
  const { body, ...answer } = found(await upstream.openBlob(repository, layer.digest, 0, never));
  t.match(answer, marks);
  await drain(body);
  for (const n of [undefined, 0, 1]) t.match(await upstream.listTags(repository, n, undefined), marks);
  const headers = { age: "30", "cache-status": "far; hit", "content-type": mediaTypes.ociIndex };
  registry.fault(() => ({ status: 200, headers, body: '{"manifests":[]}' }));
  t.match(await upstream.listReferrers(repository, image.digest, undefined), marks);
});

t.test("a server that says its Content-Type twice is understood", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(() => ({ headers: { "content-type": [mediaTypes.ociIndex, mediaTypes.ociIndex] } }));
  t.match(await upstream.headManifest(repository, tagged("1")), { mediaType: mediaTypes.ociIndex });
});

t.test("blobs are per repository upstream, and absence is an answer", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  registry.addBlob("team/other", Buffer.from("theirs"));
  const other = "team/other" as typeof repository;
  t.match(await upstream.headBlob(other, layer.digest), { kind: "absent" });
  t.match(await upstream.openBlob(other, layer.digest, 0, never), { kind: "absent" });
  t.match(await upstream.getManifest(other, tagged("1")), { kind: "absent" });
  t.same(of("upstream_error"), []);
});

t.test("a status means the same for every question", async (t) => {
  const { registry } = await setUp(t);
  let status = 0;
  registry.fault(({ kind }) => (kind === "ping" ? undefined : { status, headers: { "retry-after": "7" } }));
  // Each time as if it were the first: what was answered before may keep an upstream from being asked.
  const fresh = () => connectUpstream(t, registry.url).upstream;
  const questions = {
    headManifest: () => fresh().headManifest(repository, tagged("1")),
    getManifest: () => fresh().getManifest(repository, tagged("1")),
    headBlob: () => fresh().headBlob(repository, layer.digest),
    openBlob: () => fresh().openBlob(repository, layer.digest, 0, never),
    listTags: () => fresh().listTags(repository, 10, undefined),
  };
  const answers = {
    404: "absent",
    410: "absent",
    401: "denied",
    403: "denied",
    400: "denied",
    412: "denied",
    451: "denied",
  };
  const errors = {
    429: "rate_limited",
    500: "server_error",
    503: "server_error",
    504: "server_error",
    508: "loop",
    402: "protocol",
    206: "protocol",
    204: "protocol",
    304: "protocol",
  };
  for (const [name, question] of Object.entries(questions)) {
    for (const [code, kind] of Object.entries(answers)) {
      status = Number(code);
      t.match(await question(), { kind }, `${name} ${code}`);
    }
    for (const [answered, code] of Object.entries(errors)) {
      status = Number(answered);
      t.match(await upstreamError(question()), { code, status, retryAfter: 7 }, `${name} ${answered}`);
    }
  }
  status = 401;
  registry.fault(({ kind }) => (kind === "ping" ? { status } : undefined));
  const { message } = await upstreamError(questions.getManifest());
  t.match(message, /upstream main .*username and password/);
  await registry.until(() => registry.count({ finished: false }) === 0);
});

t.test("a long error body is not read to its end", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(() => ({ status: 500, body: Buffer.alloc(64 * 1024 * 1024) }));
  t.equal((await upstreamError(upstream.getManifest(repository, tagged("1")))).code, "server_error");
  await registry.until(() => registry.openSockets === 0);
  t.ok(registry.bytesSent < 16 * 1024 * 1024, `${registry.bytesSent} bytes were sent`);
});

t.test(
  "a manifest over 4 MiB is read no further than it has to be, and goes on in the same transfer",
  async (t) => {
    const { registry, upstream } = await setUp(t);
    const mediaType = "application/vnd.example+json";
    registry.addManifest(repository, "full", randomBytesFor("m", largestManifest), mediaType);
    const digest = registry.addManifest(repository, "over", randomBytesFor("m", 32 * 1024 * 1024), mediaType);
    const full = found(await upstream.getManifest(repository, tagged("full")));
    t.equal(full.body.length, largestManifest);
    const size = 32 * 1024 * 1024;
    const over = async (): Promise<Extract<ManifestAnswer, { kind: "oversize" }>> => {
      const answer = await upstream.getManifest(repository, tagged("over"));
      if (answer.kind !== "oversize") throw new Error(answer.kind);
      return answer;
    };
    const silent = registry.fault(() => ({ stallAfter: 0 }));
    const unread = await over();
    t.match(unread, { digest, mediaType, size }, "its length alone shows it");
    unread.discard();
    silent();
    await registry.until(() => registry.count({ finished: false }) === 0);
    t.ok(registry.bytesSent < 10 * 1024 * 1024, `${registry.bytesSent} bytes were sent`);
    const before = registry.requests.length;
    t.equal((await drain((await over()).read(never))).bytes.length, size);
    registry.fault(() => ({ noLength: true }));
    const endless = await over();
    t.match(endless, { digest, mediaType, size: undefined });
    const { bytes } = await drain(endless.read(never));
    t.ok(bytes.equals(randomBytesFor("m", size)), "from its first byte on");
    t.equal(registry.requests.length - before, 2, "one request each");

    const given = new AbortController();
    const body = (await over()).read(given.signal)[Symbol.asyncIterator]();
    await body.next();
    given.abort(new Error("given up"));
    await t.rejects(
      (async () => {
        while (!(await body.next()).done);
      })(),
      { message: "given up" },
    );
    await registry.until(() => registry.count({ finished: false }) === 0);
  },
);

t.test("a manifest is told by its bytes, whatever its labels say", async (t) => {
  const { registry, upstream } = await setUp(t);
  for (const headers of [{ "content-encoding": "gzip" }, { "content-type": "text/html" }]) {
    registry.fault(() => ({ headers }));
    for (const reference of [tagged("1"), byDigest(image.digest)]) {
      t.match(await upstream.getManifest(repository, reference), { kind: "found", body: image.manifest });
      t.match(await upstream.headManifest(repository, reference), { kind: "found", digest: image.digest });
    }
    registry.fault(() => ({ headers: { ...headers, "docker-content-digest": undefined } }));
    t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found", digest: undefined });
    t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", body: image.manifest });
  }
});

t.test("a digest that a proxy on the way has said again is one", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(() => ({ headers: { "docker-content-digest": [image.digest, image.digest] } }));
  const said = { kind: "found", digest: image.digest };
  for (const reference of [tagged("1"), byDigest(image.digest)]) {
    t.match(await upstream.headManifest(repository, reference), said);
    t.match(await upstream.getManifest(repository, reference), said);
  }
});

t.test("an answer that cannot be a manifest is refused", async (t) => {
  const { registry, upstream, of } = await setUp(t);
  const faults: Record<string, [Fault, string]> = {
    gzip: [{ gzip: true }, "protocol"],
    html: [{ html: true }, "protocol"],
    "malformed digest": [{ headers: { "docker-content-digest": "sha256:ABC" } }, "protocol"],
    "traversing digest": [{ headers: { "docker-content-digest": "sha256:../../etc/passwd" } }, "protocol"],
    "two digests": [{ headers: { "docker-content-digest": [image.digest, layer.digest] } }, "protocol"],
    "redirect elsewhere": [{ status: 302, headers: { location: "http://10.0.0.1/" } }, "redirect_refused"],
    "no location": [{ status: 302 }, "protocol"],
    "cut short": [{ cutAfter: 50 }, "truncated"],
    reset: [{ reset: true }, "unreachable"],
  };
  for (const [name, [fault, code]] of Object.entries(faults)) {
    const remove = registry.fault(() => fault);
    t.equal((await upstreamError(upstream.getManifest(repository, tagged("1")))).code, code, name);
    remove();
  }
  t.equal(of("upstream_error").length, Object.keys(faults).length, "each is reported once");
  t.equal(
    registry.requests.length,
    Object.keys(faults).length + 1,
    "a kept connection that was reset is tried again",
  );
  await idle(upstream);
});
