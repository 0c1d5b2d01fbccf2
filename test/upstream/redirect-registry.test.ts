// Registries that redirect what is asked of them to another registry, or to themselves over https.
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import type { Repository } from "../../src/oci/name.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
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
import { makeImage } from "../fixtures/images.ts";
import { type Owner, type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "redirect" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;
const redirectsTo = ["127.0.0.1"];

/** Every answer of `registry` is a redirect to what `to` has under the same name, below its own path. */
function redirectAll(registry: ScriptedUpstream, to: URL, status = 307) {
  return registry.fault(({ path, method }) => {
    const location = to.href + path.slice(registry.url.pathname.length);
    return {
      status,
      headers: { location, "content-type": "text/html" },
      body: method === "HEAD" ? "" : "<a>",
    };
  });
}

async function startPair(t: Owner, status = 307) {
  const registry = await startUpstream(t);
  const other = await startUpstream(t, { anonymous: true, path: "/docker" });
  other.addImage(repository, "1", image);
  redirectAll(registry, other.url, status);
  return { registry, other, ...connectUpstream(t, registry.url, { redirectsTo }) };
}

for (const status of [301, 302, 303, 307, 308])
  t.test(
    `manifests and lists are followed to another registry (${status}), without credentials`,
    async (t) => {
      const { registry, other, upstream } = await startPair(t, status);
      for (const reference of [tagged("1"), byDigest(image.digest)]) {
        t.match(await upstream.headManifest(repository, reference), { kind: "found", digest: image.digest });
        t.match(await upstream.getManifest(repository, reference), { kind: "found", body: image.manifest });
      }
      t.match(await upstream.listTags(repository, 10, undefined), { kind: "found", tags: ["1"] });
      t.match(await upstream.headBlob(repository, layer.digest), { kind: "found", size: 10_000 });
      const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
      t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
      t.ok(registry.requests.every(({ headers }) => headers.authorization));
      t.ok(other.requests.every(({ headers }) => headers.authorization === undefined));
      t.equal(other.requests.length, registry.requests.length);
      await idle(upstream);
    },
  );

t.test(
  "what the other registry says is the answer: also that there is nothing, and what it denies",
  async (t) => {
    const { other, upstream, of } = await startPair(t);
    t.match(await upstream.headManifest(repository, tagged("2")), { kind: "absent" });
    t.match(await upstream.getManifest(repository, tagged("2")), { kind: "absent" });
    t.match(await upstream.headBlob("team/none" as Repository, layer.digest), { kind: "absent" });
    t.match(await upstream.openBlob("team/none" as Repository, layer.digest, 0, never), { kind: "absent" });
    t.match(await upstream.listTags("team/none" as Repository, 10, undefined), { kind: "absent" });
    const body = JSON.stringify({ errors: [{ code: "DENIED", message: "not from your country" }] });
    other.fault(() => ({ status: 403, body }));
    const denied = { kind: "denied", words: { message: "not from your country" } };
    t.match(await upstream.getManifest(repository, tagged("1")), denied);
    t.match(await upstream.headManifest(repository, tagged("1")), denied);
    other.fault(() => ({ headers: { age: "5" } }));
    t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found", age: 5 });
    t.same(of("upstream_error"), []);
    other.fault(() => ({ status: 401, headers: { "www-authenticate": "Basic realm=x" } }));
    const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
    t.match(error, { code: "auth", status: 401 });
    t.match(error.message, `redirected to ${other.url.host}, which wants an account`);
    t.ok(other.requests.every(({ headers }) => headers.authorization === undefined));
    await idle(upstream);
  },
);

t.test("a manifest in a storage is fetched, and the storage cannot say that it does not exist", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true });
  let signed = 0;
  registry.fault(() => ({ status: 307, headers: { location: `${storage.url.href}/key?sig=${++signed}` } }));
  const remove = storage.fault(({ method }) =>
    // Its addresses are signed for one method.
    method === "HEAD"
      ? { status: 403 }
      : { status: 200, body: image.manifest, headers: { "content-type": "application/octet-stream" } },
  );
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo });
  t.match(await upstream.getManifest(repository, tagged("1")), { kind: "found", body: image.manifest });
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  remove();
  for (const status of [403, 404]) {
    storage.fault(() => ({ status }));
    const error = await upstreamError(upstream.getManifest(repository, tagged("1")));
    t.match(error, { code: "server_error", status });
  }
  t.ok(storage.requests.every(({ headers }) => headers.authorization === undefined));
});

t.test("the rules for addresses are those of blobs", async (t) => {
  const { registry, other } = await startPair(t);
  const { upstream } = connectUpstream(t, registry.url);
  for (const asked of [
    upstream.headManifest(repository, tagged("1")),
    upstream.getManifest(repository, tagged("1")),
    upstream.listTags(repository, 10, undefined),
    upstream.openBlob(repository, layer.digest, 0, never),
  ])
    t.match(await upstreamError(asked), { code: "redirect_refused", message: /listed under redirectsTo/ });
  t.equal(other.requests.length, 0);
});

t.test("http that leads to https of the same name", { skip: withoutOpenssl() }, async (t) => {
  const authority = new Authority(t.testdir(), "authority");
  const tls = authority.issue("server", "IP:127.0.0.1,DNS:localhost");
  const trusting = { redirectsTo: ["localhost"], tls: { ca: authority.cert } };

  async function startBoth(path: string) {
    const plain = await startUpstream(t, { path: "/registry" });
    const secure = await startUpstream(t, { tls, path });
    secure.addImage(repository, "1", image);
    return { plain, secure };
  }

  for (const path of ["/registry", "", "/another/path"])
    t.test(`is asked from then on, with our account, and told once: ${path}`, async (t) => {
      const { plain, secure } = await startBoth(path);
      redirectAll(plain, new URL(secure.url.href.replace(/\/$/, "")), 301);
      const { upstream, of } = connectUpstream(t, plain.url, trusting);
      const forwarding = upstream.forwarding("1.1 other");
      const asked = [1, 2, 3].map(() => upstream.getManifest(repository, tagged("1")));
      for (const answer of await Promise.all(asked)) t.match(answer, { kind: "found", digest: image.digest });
      t.equal(plain.requests.length, 3, "asked before the first answer");
      const blob = found(await forwarding.openBlob(repository, layer.digest, 0, never));
      t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
      t.match(await upstream.listTags(repository, 10, undefined), { tags: ["1"] });
      t.equal(plain.requests.length, 3);
      t.ok(secure.requests.every(({ headers, status }) => headers.authorization && status === 200));
      t.same(
        of("upstream_moved").map(({ message }) => message.replace(/:\d+/g, "")),
        [
          `http://127.0.0.1/registry only redirects to https://127.0.0.1${path || "/"}, which is asked from now on: set url to it`,
        ],
      );
      await idle(upstream);
      await plain.until(() => plain.openSockets === 0);
    });

  t.test(
    "another name, or an address that is no registry's, is followed for the question only",
    async (t) => {
      const { plain, secure } = await startBoth("/registry");
      secure.fault(() => ({ status: 200, body: layer.bytes }));
      for (const location of [
        `${secure.url.href.replace("127.0.0.1", "localhost")}/v2/team/app/blobs/${layer.digest}`,
        `${secure.url.href.replace("127.0.0.1", "localhost")}/key?sig=1`,
      ]) {
        plain.forget();
        const remove = plain.fault(() => ({ status: 307, headers: { location } }));
        const { upstream, of } = connectUpstream(t, plain.url, trusting);
        for (let round = 1; round <= 2; round++) {
          const blob = found(await upstream.openBlob(repository, layer.digest, 0, never));
          t.ok((await drain(blob.body)).bytes.equals(layer.bytes));
          t.equal(plain.requests.length, round);
        }
        t.same(of("upstream_moved"), []);
        remove();
      }
      t.ok(secure.requests.every(({ headers }) => headers.authorization === undefined));
    },
  );
});
