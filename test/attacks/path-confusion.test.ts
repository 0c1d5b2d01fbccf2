// CVE-2024-4956 (Nexus), CVE-2024-6915 (Artifactory): two readers of one path see two names, and something is read outside
// the cache, or kept under a name that another repository has.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const [own, other] = [makeImage({ layers: [10], seed: "own" }), makeImage({ layers: [10], seed: "other" })];

t.test("what is no name reaches neither upstream nor the disk", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", own);
  const mirror = await startMirror(t, upstream);
  for (const path of [
    "/v2/team/../../../../etc/passwd",
    "/v2/team/app/../secret/manifests/1",
    "/v2/team/app/manifests/../../secret/manifests/1",
    "/v2/team/app/manifests/..%2f..%2fsecret",
    "/v2/%2e%2e/%2e%2e/etc/passwd",
    "/v2/team%2f..%2fsecret/manifests/1",
    "/v2/team/..;/secret/manifests/1",
    "/v2/team;x=1/app/manifests/1",
    "/v2/team//app/manifests/1",
    "/v2//team/app/manifests/1",
    "//v2/team/app/manifests/1",
    "/v2/team\\app/manifests/1",
    "/v2/team%5capp/manifests/1",
    "/v2/team%00/app/manifests/1",
    "/v2/team/app/manifests/1%00.json",
    "/v2/team/app/manifests/1%0d%0aX-Evil:1",
    "/v2/team%c0%afapp/manifests/1",
    "/v2/team%c0%ae%c0%ae/app/manifests/1",
    "/v2/team%252fapp/manifests/1",
    "/v2/team/app/manifests/1%23x",
    "/v2/team/app/manifests/1%3fx",
    "/v2/TEAM/app/manifests/1",
    "/v2/team/./app/manifests/1",
    "/v2/team/app/blobs/sha256%3a..%2f..%2fetc%2fpasswd",
  ]) {
    const answer = await mirror.get(path);
    t.ok(answer.status === 400 || answer.status === 404, `${path}: ${answer.status}`);
    t.notMatch(answer.body.toString(), /root:/);
  }
  t.same(upstream.requests, []);
});

t.test("names that are read alike are one name: what is asked, fetched and kept is the same", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", own);
  const mirror = await startMirror(t, upstream);
  for (const path of [
    "/v2/team/app/manifests/1",
    "/v2/team%2Fapp/manifests/1",
    "/v2/%74eam/app/manifests/%31",
    "/v2/team/app/manifests/1?x=../../secret",
    "/v2/team/app/manifests/1#x",
  ]) {
    const answer = await mirror.get(path);
    if (answer.status === 200) t.ok(answer.body.equals(own.manifest), path);
    else t.ok(answer.status === 400 || answer.status === 404, `${path}: ${answer.status}`);
  }
  const asked = upstream.requests.map(({ path }) => path.slice(upstream.url.pathname.length));
  t.same([...new Set(asked)], ["/v2/team/app/manifests/1"], "one name, asked for as it is");
});

t.test("names that are alike are kept apart", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("app", "1", own);
  upstream.addImage("library/app", "1", other);
  const mirror = await startMirror(t, upstream);
  for (const _ of ["miss", "hit"])
    for (const [name, image] of [
      ["app", own],
      ["library/app", other],
    ] as const) {
      t.ok((await mirror.get(`/v2/${name}/manifests/1`)).body.equals(image.manifest), name);
      const layer = (name === "app" ? other : own).layers[0]?.digest;
      t.equal((await mirror.get(`/v2/${name}/blobs/${layer}`)).status, 404, "nor does one have the other's");
    }
});
