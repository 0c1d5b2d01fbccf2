// CVE-2025-4374 (Quay): who pulls an image through the proxy first becomes the owner of the repository made for it.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("pulling first gives no right to write or delete", async (t) => {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [1_000], seed: "first" });
  upstream.addImage("new/app", "1", image);
  const mirror = await startMirror(t, upstream);
  const layer = image.layers[0]?.digest;
  for (const target of [`manifests/1`, `blobs/${layer}`])
    t.equal((await mirror.get(`/v2/new/app/${target}`)).status, 200);
  for (const [method, target] of [
    ["PUT", "manifests/1"],
    ["PUT", "manifests/2"],
    ["DELETE", "manifests/1"],
    ["DELETE", `manifests/${image.digest}`],
    ["DELETE", `blobs/${layer}`],
    ["POST", "blobs/uploads/"],
    ["POST", `blobs/uploads/?mount=${layer}&from=new/app`],
  ] as const)
    t.equal((await mirror.ask(method, `/v2/new/app/${target}`)).status, 405, `${method} ${target}`);
  t.ok(
    upstream.requests.every(({ method }) => method === "GET" || method === "HEAD"),
    "upstream has heard of none of it",
  );
  t.equal((await mirror.get("/v2/new/app/manifests/1")).status, 200, "and it is still there");
});
