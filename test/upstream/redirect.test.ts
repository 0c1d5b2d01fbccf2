import { inspect } from "node:util";
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { UpstreamError } from "../../src/ports/upstream.ts";
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
import { type Owner, startUpstream } from "../fixtures/scripted-upstream.ts";

const rules = { upstream: "main", otherOrigins: true };
/** The storages of these tests stand on the loopback address. */
const redirectsTo = ["127.0.0.1"];
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
  for (const [location, code] of [
    ["http://registry.example.com/other?sig=presigned", "redirect_refused"],
    ["http://cdn.example.com/presigned", "redirect_refused"],
    ["file:///presigned", "redirect_refused"],
    ["javascript:presigned", "redirect_refused"],
    ["https://presigned:99999/", "protocol"],
    [undefined, "protocol"],
  ] as const) {
    try {
      t.fail(redirectTarget(secure, location, rules).href);
    } catch (error) {
      t.match(error, { code });
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
  const { upstream, of } = connectUpstream(t, registry.url, { redirectsTo });
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
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo });
  const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
  t.match(error, { code: "auth", status: 401 });
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
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo });
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", digest: image.digest });
  t.match(await upstream.headBlob(repository, layer.digest), { kind: "found" });
  t.equal(registry.count({ repository: "moved", status: 200 }), 2);
});

t.test("a storage behind a redirect cannot say that a blob does not exist", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true });
  registry.fault(() => ({ status: 302, headers: { location: `${storage.url.href}/object` } }));
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo });
  for (const status of [401, 403, 404, 410]) {
    const remove = storage.fault(() => ({ status }));
    const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
    t.match(error, { code: "server_error", status });
    remove();
  }
});

/** A registry that signs a new address at every request, and a storage that takes each signature once. */
async function signing(t: Owner) {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true, path: "" });
  storage.addBlob("bucket", layer.bytes);
  let signed = 0;
  registry.fault(() => {
    const location = `${storage.url.origin}/v2/bucket/blobs/${layer.digest}?sig=${++signed}`;
    return { status: 307, headers: { location } };
  });
  const signatures = () => storage.requests.map(({ query }) => query.get("sig"));
  return { registry, storage, signatures, ...connectUpstream(t, registry.url, { redirectsTo }) };
}

t.test("a resumed transfer begins at upstream and gets an address of its own", async (t) => {
  const { registry, storage, signatures, upstream } = await signing(t);
  const used = new Set<string | null>();
  storage.fault(({ query }) => {
    const signature = query.get("sig");
    if (used.has(signature)) return { status: 403, body: "Request has expired" };
    used.add(signature);
    return used.size === 1 ? { cutAfter: 4_000 } : undefined;
  });
  const part = await drain(found(await upstream.openBlob(repository, layer.digest, 0, never)).body);
  t.match(part.error, { code: "truncated" });
  t.equal(part.bytes.length, 4_000);
  const rest = found(await upstream.openBlob(repository, layer.digest, 4_000, never));
  t.ok(Buffer.concat([part.bytes, (await drain(rest.body)).bytes]).equals(layer.bytes));
  t.same(signatures(), ["1", "2"], "the old address is not asked again");
  t.equal(registry.count(), 2);
  t.ok(registry.requests.every(({ headers }) => headers.authorization !== undefined));
});

for (const status of [400, 401, 403])
  t.test(`an address that has expired (${status}) is replaced by a new one, once`, async (t) => {
    const { registry, storage, signatures, upstream } = await signing(t);
    storage.fault(({ query }) => (query.get("sig") === "1" ? { status } : undefined));
    const rest = found(await upstream.openBlob(repository, layer.digest, 4_000, never));
    t.ok((await drain(rest.body)).bytes.equals(layer.bytes.subarray(4_000)));
    t.same(signatures(), ["1", "2"]);
    t.same(
      registry.requests.map(({ headers }) => headers.range),
      ["bytes=4000-", "bytes=4000-"],
    );
    storage.fault(() => ({ status }));
    const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
    t.match(error, { code: "server_error", status });
    t.same(signatures(), ["1", "2", "3", "4"], "a storage that refuses two addresses is out of order");
    await idle(upstream);
  });

t.test("a signed address stands in no error and no notice, whatever its storage does", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true });
  const errors: unknown[] = [];
  const { upstream, notices } = connectUpstream(t, registry.url, { redirectsTo, firstByteTimeout: 100 });
  const open = async () => {
    const answer = await upstream.openBlob(repository, layer.digest, 0, never).catch((error) => error);
    errors.push(answer instanceof Error ? answer : (await drain(answer.body)).error);
  };
  const location = `${storage.url.href}/object?X-Amz-Signature=presigned`;
  const remove = registry.fault(() => ({ status: 307, headers: { location } }));
  for (const fault of [
    { reset: true },
    { hang: true },
    { status: 500 },
    { cutAfter: 5, body: "x".repeat(9) },
  ]) {
    const heal = storage.fault(() => fault);
    await open();
    heal();
  }
  await storage.stop();
  await open();
  remove();
  for (const elsewhere of [
    "http://10.0.0.1/presigned?presigned",
    "http://storage.invalid/presigned?presigned",
  ]) {
    registry.fault(() => ({ status: 307, headers: { location: elsewhere } }));
    await open();
  }
  t.equal(errors.length, 7);
  t.ok(errors.every((error) => error instanceof UpstreamError));
  const printed = inspect([errors, notices], { depth: 20, showHidden: true });
  t.notMatch(printed + JSON.stringify([errors, notices]), /presigned/);
});

t.test("redirects end", async (t) => {
  const registry = await startUpstream(t);
  registry.fault(({ path }) => ({ status: 307, headers: { location: path } }));
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo });
  const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
  t.equal(error.code, "protocol");
  t.equal(registry.count(), 6);
  await idle(upstream);
});
