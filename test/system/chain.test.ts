// Headquarters, region, datacenter: a mirror in front of a mirror in front of a mirror. Each blob crosses
// each link once, HEAD of a cold blob is answered through all of them, and the farthest may fail.
import t from "tap";
import { download } from "./fixtures/download.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";

t.setTimeout(120_000);

const accept = "application/vnd.oci.image.manifest.v1+json";

t.test("three mirrors in a row", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const env = { ENTREPOT_TAG_TTL: "60s" };
  const headquarters = await startMirror(t, front, { env });
  const behind = (url: string) => ({ url, username: "nobody", password: "asks for it" });
  const region = await startMirror(t, behind(headquarters.url), { env });
  const datacenter = await startMirror(t, behind(region.url), { env });

  const [layer] = images.app.blobs;
  const head = await fetch(`${datacenter.url}/v2/made/app/blobs/${layer}`, { method: "HEAD" });
  t.equal(head.status, 200, "HEAD of a cold blob is answered through all three");
  t.equal(front.log.blobGets().length, 0, "without a download");

  const tagged = await fetch(`${datacenter.url}/v2/made/app/manifests/1`, { headers: { accept } });
  t.equal(tagged.headers.get("docker-content-digest"), images.app.digest);
  const fetched = Array(3).fill("entrepot; fwd=uri-miss").join(", ");
  t.equal(tagged.headers.get("cache-status"), fetched, "each says that it had to ask on");
  front.log.forget();
  const clients = images.app.blobs.flatMap((digest) =>
    Array.from({ length: 5 }, () => download(`${datacenter.url}/v2/made/app/blobs/${digest}`)),
  );
  const done = await Promise.all(clients.map((client) => client.done));
  t.ok(done.every(({ complete, digest }) => complete && images.app.blobs.includes(digest)));
  t.equal(front.log.blobGets().length, images.app.blobs.length, "each blob crossed the far link once");
  t.equal(front.log.blobBytes(), images.app.size);

  await front.down();
  const warm = await fetch(`${datacenter.url}/v2/made/app/manifests/1`, { headers: { accept } });
  t.equal(warm.status, 200);
  t.match(warm.headers.get("cache-status"), /^entrepot; hit; ttl=\d+; detail=memory$/);
  await headquarters.kill();
  await region.kill();
  const alone = await Promise.all(
    images.app.blobs.map((digest) => download(`${datacenter.url}/v2/made/app/blobs/${digest}`).done),
  );
  t.ok(
    alone.every(({ complete }) => complete),
    "what is in the datacenter needs nobody",
  );
});
