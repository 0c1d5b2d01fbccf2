// What clients are told of an image that is here in part while its upstream is down, as the configuration says.
import t, { type Test } from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { basicAuth } from "../fixtures/connected-upstream.ts";
import { makeImage, makeIndex } from "../fixtures/images.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000] });
const index = makeIndex([image]);
const [layer] = image.layers;
const byDigest = `/v2/team/app/manifests/${image.digest}`;
const single = "/v2/team/app/manifests/single";
const multi = "/v2/team/app/manifests/multi";

async function fill(upstream: ScriptedUpstream): Promise<void> {
  upstream.addImage("team/app", "single", image);
  upstream.addIndex("team/app", "multi", index);
}

/** A mirror that has manifests and config of both tags, and whose upstream has gone. */
async function startHalfFull(t: Test, options: MirrorOptions): Promise<Mirror> {
  const upstream = await startUpstream(t);
  await fill(upstream);
  const mirror = await startMirror(t, upstream, { tags: { ttl: 0 }, ...options });
  for (const path of [single, multi, byDigest, `/v2/team/app/blobs/${image.config.digest}`])
    t.equal((await mirror.get(path)).status, 200);
  await upstream.stop();
  return mirror;
}

t.test("refuse: 502 that says why, to GET and HEAD, by tag and digest, image and index", async (t) => {
  const mirror = await startHalfFull(t, { manifestsWithoutLayers: "refuse" });
  for (const path of [multi, byDigest, single]) {
    const { status, headers, body } = await mirror.get(path);
    t.equal(status, 502, path);
    t.match(JSON.parse(body.toString()), {
      errors: [{ code: "UNAVAILABLE", message: /not all of its layers/ }],
    });
    t.match(headers["retry-after"], /^\d+$/);
    t.match(await mirror.ask("HEAD", path), {
      status: 502,
      headers: { "content-length": String(body.length) },
    });
  }
  for (const tag of ["a", "b", "c"]) await mirror.get(`/v2/team/app/manifests/${tag}`);
  await mirror.line(({ msg }) => msg === "upstream does not answer and is not asked for now");
  t.equal((await mirror.get(byDigest)).status, 502, "while the circuit is open");
  t.match(await mirror.line(({ detail }) => detail === "layers_missing"), { result: "error", status: 502 });
});

t.test("serve, the default: the manifest, and 502 for the layer", async (t) => {
  const mirror = await startHalfFull(t, {});
  for (const path of [multi, byDigest, single]) t.equal((await mirror.get(path)).status, 200, path);
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer?.digest}`)).status, 502);
});

t.test("refuse: an upstream that is next on failures is asked", async (t) => {
  const other = await startUpstream(t);
  await fill(other);
  const next = { upstream: "other", on: ["failure"] } as const;
  const mirror = await startHalfFull(t, {
    manifestsWithoutLayers: "refuse",
    upstream: { next },
    more: [{ ...plainUpstream("other", other.url), auth: basicAuth(other.username, other.password) }],
  });
  t.equal((await mirror.get(single)).status, 200);
  t.match(await mirror.line(({ upstream }) => upstream === "other"), { result: "miss" });
});
