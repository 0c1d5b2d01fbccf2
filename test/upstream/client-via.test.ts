import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import type { Upstream } from "../../src/ports/upstream.ts";
import { connectUpstream, drain, found, repository, tagged } from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "via" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };

async function askEverything(upstream: Upstream): Promise<void> {
  await upstream.headManifest(repository, tagged("1"));
  await upstream.getManifest(repository, tagged("1"));
  await upstream.listTags(repository, 10, undefined);
  await upstream.headBlob(repository, layer.digest);
  await upstream.listReferrers(repository, image.digest, undefined);
  await drain(found(await upstream.openBlob(repository, layer.digest, 0, new AbortController().signal)).body);
}

t.test("every request names in Via the mirrors it came through, those to storages too", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true, path: "" });
  registry.addImage(repository, "1", image);
  storage.addBlob("bucket", layer.bytes);
  const location = `${storage.url.origin}/v2/bucket/blobs/${layer.digest}`;
  registry.fault(({ kind }) => (kind === "blob" ? { status: 307, headers: { location } } : undefined));
  const { upstream } = connectUpstream(t, registry.url, { redirectsTo: ["127.0.0.1"] });
  // What is asked about credentials is asked for all clients alike.
  const seen = () =>
    [...registry.requests, ...storage.requests]
      .filter(({ kind }) => kind !== "ping")
      .map(({ headers }) => headers.via);
  await askEverything(upstream);
  const own = seen()[0] ?? "";
  t.match(own, /^1\.1 entrepot-[0-9a-f]{8}$/);
  t.same(seen(), Array(8).fill(own));
  registry.forget();
  storage.forget();
  const forwarding = upstream.forwarding("1.1 a, 2 b");
  t.equal(forwarding.name, upstream.name);
  await askEverything(forwarding);
  t.same(seen(), Array(8).fill(`1.1 a, 2 b, ${own}`));
  registry.forget();
  await upstream.headManifest(repository, tagged("1"));
  t.same(
    registry.requests.map(({ headers }) => headers.via),
    [own],
    "no other mirror is named",
  );
});

t.test("that HEAD of blobs is refused is learnt once, for whichever mirror the question is", async (t) => {
  const registry = await startUpstream(t);
  registry.addImage(repository, "1", image);
  registry.fault(({ method }) => (method === "HEAD" ? { status: 405 } : undefined));
  const { upstream } = connectUpstream(t, registry.url);
  await upstream.forwarding("1.1 a").headBlob(repository, layer.digest);
  await upstream.headBlob(repository, layer.digest);
  t.equal(registry.count({ method: "HEAD" }), 1);
});
