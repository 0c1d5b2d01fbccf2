// CVE-2021-41190 (OCI): one body that is an image to one client and an index to another.
import t from "tap";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { digestOf, makeImage, makeIndex } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const [good, evil] = [makeImage({ layers: [10], seed: "good" }), makeImage({ layers: [10], seed: "evil" })];
const image = JSON.parse(good.manifest.toString()) as object;
const index = JSON.parse(makeIndex([evil]).manifest.toString()) as object;
const { ociIndex, ociManifest, dockerManifest } = mediaTypes;

t.test("a manifest that can be taken for two things is given to nobody", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const cases: readonly (readonly [what: string, body: object, type: string])[] = [
    ["both an image and an index", { ...index, ...image }, ociManifest],
    ["both, as an index", { ...image, ...index }, ociIndex],
    ["both, without a type of its own", { ...image, ...index, mediaType: undefined }, ociManifest],
    ["an index that is sent as an image", index, ociManifest],
    ["an image that is sent as an index", image, ociIndex],
    ["an index without a type, sent as an image", { ...index, mediaType: undefined }, ociManifest],
    ["OCI's type and Docker's", image, dockerManifest],
    [
      "members in another case",
      { ...image, Manifests: (index as { manifests: unknown }).manifests },
      ociManifest,
    ],
  ];
  for (const [what, json, type] of cases) {
    const body = Buffer.from(JSON.stringify(json));
    const tag = `t${upstream.requests.length}`;
    upstream.addManifest("team/app", tag, body, type);
    for (const reference of [tag, digestOf(body)])
      for (const accept of [ociIndex, ociManifest, `${ociIndex}, ${ociManifest}, ${dockerManifest}`]) {
        const answer = await mirror.get(`/v2/team/app/manifests/${reference}`, { accept });
        t.equal(answer.status, 502, `${what}, by ${reference}`);
        t.notOk(answer.body.includes("schemaVersion"));
      }
  }
});

t.test("what a client accepts changes neither bytes nor type of a manifest", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", good);
  const mirror = await startMirror(t, upstream);
  for (const accept of [ociManifest, "*/*", `${ociIndex};q=1, ${ociManifest};q=0.1`]) {
    const answer = await mirror.get("/v2/team/app/manifests/1", { accept });
    t.match(answer, { status: 200, headers: { "content-type": ociManifest } });
    t.ok(answer.body.equals(good.manifest));
  }
});
