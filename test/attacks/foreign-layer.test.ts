// CVE-2020-15157 (containerd): a layer says by `urls` where it is, and is fetched from there, with the account of the
// registry.
import t from "tap";
import { makeContent, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("nobody follows the addresses in a manifest", async (t) => {
  const upstream = await startUpstream(t);
  const attacker = await startUpstream(t, { anonymous: true, path: "" });
  const image = makeImage({ layers: [10], seed: "foreign" });
  const foreign = makeContent(randomBytesFor("elsewhere", 1_000));
  attacker.addBlob("team/app", foreign.bytes);
  const json = JSON.parse(image.manifest.toString()) as { layers: object[] };
  const urls = [`${attacker.url.origin}/v2/team/app/blobs/${foreign.digest}`];
  const types = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.v1.tar",
  ];
  const mirror = await startMirror(t, upstream, { upstream: { redirectsTo: ["127.0.0.1"] } });
  for (const [at, mediaType] of types.entries()) {
    const layers = [...json.layers, { mediaType, digest: foreign.digest, size: 1_000, urls }];
    const body = Buffer.from(JSON.stringify({ ...json, layers }));
    upstream.addManifest("team/app", `t${at}`, body, image.mediaType);
    const answer = await mirror.get(`/v2/team/app/manifests/t${at}`);
    t.equal(answer.status, 200, mediaType);
    t.ok(answer.body.equals(body), "the client gets it as it is");
    for (const method of ["HEAD", "GET"])
      t.equal((await mirror.ask(method, `/v2/team/app/blobs/${foreign.digest}`)).status, 404, mediaType);
  }
  t.equal(attacker.connections, 0);
});
