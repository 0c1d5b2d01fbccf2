// CVE-2024-39897 (zot), openshift/origin issue 9755: bytes are kept once for all repositories, and whoever knows a digest
// reads it through a repository of his own.
import t, { type Test } from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { makeImage } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const secret = makeImage({ layers: [100_000], seed: "secret" });
const layer = secret.layers[0] as { digest: Digest; bytes: Buffer };

/** A mirror through which everything of the secret repository has been pulled. */
async function pulled(t: Test, hostile?: ScriptedUpstream): Promise<[Mirror, ScriptedUpstream]> {
  const upstream = await startUpstream(t);
  upstream.addImage("team/secret", "1", secret);
  upstream.addImage("guest/app", "1", makeImage({ layers: [1_000], seed: "guest" }));
  const more = hostile === undefined ? [] : [plainUpstream("hostile", hostile.url)];
  const mirror = await startMirror(t, upstream, { more });
  t.equal((await mirror.get("/v2/team/secret/manifests/1")).status, 200);
  for (const { digest } of [secret.config, layer])
    t.equal((await mirror.get(`/v2/team/secret/blobs/${digest}`)).status, 200);
  return [mirror, upstream];
}

async function readsNothing(t: Test, mirror: Mirror, repository: string): Promise<void> {
  for (const target of [
    `${repository}/blobs/${layer.digest}`,
    `${repository}/blobs/${secret.config.digest}`,
    `${repository}/blobs/${secret.digest}`,
    `${repository}/manifests/${secret.digest}`,
  ])
    for (const [method, headers] of [
      ["HEAD", {}],
      ["GET", {}],
      ["GET", { range: "bytes=0-0" }],
      ["GET", { "if-none-match": `"${layer.digest}"` }],
    ] as const)
      t.equal((await mirror.ask(method, target, headers)).status, 404, `${method} ${target}`);
}

t.test("another repository of the same registry", async (t) => {
  const [mirror] = await pulled(t);
  await readsNothing(t, mirror, "/v2/guest/app");
  await readsNothing(t, mirror, "/v2/nobody/knows");
});

t.test("an index in the attacker's repository that names the image", async (t) => {
  const [mirror, upstream] = await pulled(t);
  const child = { mediaType: secret.mediaType, digest: secret.digest, size: secret.manifest.length };
  const blob = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layer.digest, size: 100_000 };
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [child, blob] };
  upstream.addManifest("guest/app", "2", Buffer.from(JSON.stringify(index)), mediaTypes.ociIndex);
  t.equal((await mirror.get("/v2/guest/app/manifests/2")).status, 200);
  await readsNothing(t, mirror, "/v2/guest/app");
});

t.test("another registry, whose manifest names what only the first one has", async (t) => {
  const hostile = await startUpstream(t, { anonymous: true, path: "" });
  hostile.addManifest("guest/app", "1", secret.manifest, secret.mediaType);
  const [mirror] = await pulled(t, hostile);
  t.equal((await mirror.get("/hostile/v2/guest/app/manifests/1")).status, 200, "it has the manifest itself");
  for (const { digest } of [secret.config, layer])
    for (const method of ["HEAD", "GET"])
      t.equal((await mirror.ask(method, `/hostile/v2/guest/app/blobs/${digest}`)).status, 404, method);
});
