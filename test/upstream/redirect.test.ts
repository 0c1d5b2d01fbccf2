import t from "tap";
import { UpstreamError } from "../../src/cache/ports.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { isRedirect, redirectTarget } from "../../src/upstream/redirect.ts";
import {
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  tagged,
  upstreamError,
} from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const rules = { upstream: "main", otherOrigins: true };
const secure = new URL("https://registry.example.com/v2/a/blobs/x?y");
const plain = new URL("http://registry.example.com/v2/a/blobs/x");

const image = makeImage({ layers: [10_000], seed: "client" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

t.test("where a redirect leads", async (t) => {
  for (const [from, location, target] of [
    [secure, "/other", "https://registry.example.com/other"],
    [secure, "z", "https://registry.example.com/v2/a/blobs/z"],
    [secure, "//cdn.example.com/z?sig=a%2Fb#part", "https://cdn.example.com/z?sig=a%2Fb"],
    [secure, "https://user:secret@cdn.example.com/", "https://cdn.example.com/"],
    [plain, "https://cdn.example.com/z", "https://cdn.example.com/z"],
    [plain, "http://cdn.example.com:81/z", "http://cdn.example.com:81/z"],
  ] as const) {
    t.equal(redirectTarget(from, location, rules).href, target);
  }
});

t.test("where it may not", async (t) => {
  for (const [from, location] of [
    [secure, "http://registry.example.com/other?sig=presigned"],
    [secure, "http://cdn.example.com/presigned"],
    [secure, "file:///presigned"],
    [secure, "javascript:presigned"],
    [secure, "https://presigned:99999/"],
    [secure, undefined],
  ] as const) {
    try {
      t.fail(redirectTarget(from, location, rules).href);
    } catch (error) {
      t.match(error, { code: "protocol" });
      t.notMatch((error as UpstreamError).message, /presigned/);
    }
  }
  const small = { upstream: "main", otherOrigins: false };
  t.throws(() => redirectTarget(secure, "https://cdn.example.com/", small), UpstreamError);
  t.equal(redirectTarget(secure, "/login", small).pathname, "/login");
});

t.test("which statuses are redirects", async (t) => {
  const statuses = Array.from({ length: 100 }, (_, at) => 300 + at).filter(isRedirect);
  t.same(statuses, [301, 302, 303, 307, 308]);
});

t.test("a blob redirected to another origin is fetched without credentials", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true, path: "" });
  registry.addImage(repository, "1", image);
  storage.addBlob("bucket", layer.bytes);
  const location = `${storage.url.origin}/v2/bucket/blobs/${layer.digest}?X-Amz-Signature=presigned`;
  registry.fault(({ kind }) => (kind === "blob" ? { status: 307, headers: { location } } : undefined));
  const { upstream, of } = connectUpstream(t, registry.url);
  const answer = found(await upstream.openBlob(repository, layer.digest, 4_000, never));
  t.match(answer, { size: 10_000, offset: 4_000 });
  t.ok((await drain(answer.body)).bytes.equals(layer.bytes.subarray(4_000)));
  t.ok(registry.requests[0]?.headers.authorization);
  const asked = storage.requests[0];
  t.equal(asked?.headers.authorization, undefined);
  t.match(asked, { headers: { range: "bytes=4000-", "accept-encoding": "identity" } });
  t.equal(asked?.query.get("X-Amz-Signature"), "presigned");
  t.match(
    of("upstream_request").map(({ status }) => status),
    [307, 206],
  );
  t.same(await upstream.headBlob(repository, layer.digest), { kind: "found", size: 10_000 });
  await idle(upstream);
});

t.test("credentials never come back after another origin was asked", async (t) => {
  const registry = await startUpstream(t);
  const bouncer = await startUpstream(t, { anonymous: true });
  registry.addImage(repository, "1", image);
  const back = `${registry.url.href}/v2/team/secret/blobs/${layer.digest}`;
  registry.fault(({ repository: asked }) =>
    asked === repository ? { status: 307, headers: { location: `${bouncer.url.href}/x` } } : undefined,
  );
  bouncer.fault(() => ({ status: 307, headers: { location: back } }));
  const { upstream } = connectUpstream(t, registry.url);
  const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
  t.match(error, { code: "server_error", status: 401 });
  t.equal(registry.requests[1]?.path.startsWith(registry.url.pathname), true);
  t.equal(registry.requests[1]?.headers.authorization, undefined);
});

t.test("a redirect within the origin keeps the credentials", async (t) => {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  registry.fault(({ path }) =>
    path.includes("/v2/team/app/")
      ? { status: 301, headers: { location: path.replace("/team/app/", "/moved/") } }
      : undefined,
  );
  registry.addImage("moved", "1", image);
  const { upstream } = connectUpstream(t, registry.url);
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", digest: image.digest });
  t.match(await upstream.headBlob(repository, layer.digest), { kind: "found" });
  t.equal(registry.count({ repository: "moved", status: 200 }), 2);
});

t.test("a storage behind a redirect cannot say that a blob does not exist", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true });
  registry.fault(() => ({ status: 302, headers: { location: `${storage.url.href}/object` } }));
  const { upstream } = connectUpstream(t, registry.url);
  for (const status of [401, 403, 404, 410]) {
    const remove = storage.fault(() => ({ status }));
    const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
    t.match(error, { code: "server_error", status });
    remove();
  }
});

t.test("redirects end", async (t) => {
  const registry = await startUpstream(t);
  registry.fault(({ path }) => ({ status: 307, headers: { location: path } }));
  const { upstream } = connectUpstream(t, registry.url);
  const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
  t.equal(error.code, "protocol");
  t.equal(registry.count(), 6);
  await idle(upstream);
});
