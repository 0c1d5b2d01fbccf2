// Harbor's proxy cache of 2026: the right of one name counts for another that only begins alike, and what the one may write
// the other is given.
import t from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { login, namedAccess, rule } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const [own, other] = [makeImage({ layers: [10], seed: "own" }), makeImage({ layers: [10], seed: "other" })];
const others = [
  "team/app2",
  "team/app-evil",
  "team/app/x",
  "team/ap",
  "xteam/app",
  "x/team/app",
  "robot/team/app",
];

t.test("a pattern allows what it names, and nothing that begins or ends like it", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", own);
  for (const name of others) upstream.addImage(name, "1", other);
  const mirror = await startMirror(t, upstream, { upstream: { allow: ["team/app"] } });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  upstream.forget();
  for (const name of others)
    for (const what of [
      "manifests/1",
      `manifests/${other.digest}`,
      `blobs/${other.config.digest}`,
      "tags/list",
    ])
      t.equal((await mirror.get(`/v2/${name}/${what}`)).status, 403, `${name} ${what}`);
  t.equal(upstream.count(), 0);
});

t.test("an upstream whose name begins with another's is another one", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", own);
  const hostile = await startUpstream(t, { anonymous: true, path: "" });
  for (const name of ["team/app", "-b/team/app", "b/team/app"]) hostile.addImage(name, "1", other);
  const more = [plainUpstream("upstream-b", hostile.url)];
  const mirror = await startMirror(t, upstream, { more });
  const manifest = async (path: string) => (await mirror.get(path)).body;
  t.ok((await manifest("/upstream-b/v2/team/app/manifests/1")).equals(other.manifest));
  for (const _ of ["miss", "hit"]) {
    t.ok((await manifest("/upstream/v2/team/app/manifests/1")).equals(own.manifest));
    t.ok((await manifest("/v2/team/app/manifests/1")).equals(own.manifest));
  }
  for (const digest of [other.digest, own.digest]) {
    const [at, status] = digest === own.digest ? ["/upstream-b", 404] : ["/upstream", 404];
    t.equal((await mirror.get(`${at}/v2/team/app/manifests/${digest}`)).status, status);
  }
});

t.test("a caller whose name begins with another's has none of its rights", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", own);
  const names = ["robot", "robot2", "robot$team", "robot$team+app", "Robot", "xrobot"];
  const passwords = Object.fromEntries(names.map((name) => [name, `${name}-pw`]));
  const rules = [rule({ users: ["robot"], repositories: ["team/app"] })];
  const mirror = await startMirror(t, upstream, { access: namedAccess(passwords, rules) });
  const path = "/v2/team/app/manifests/1";
  for (const _ of ["miss", "hit"])
    for (const name of names) {
      const { status } = await mirror.get(path, login(name, `${name}-pw`));
      t.equal(status, name === "robot" ? 200 : 403, name);
      t.equal((await mirror.get(path, login(name, "robot-pw2"))).status, 401);
    }
  t.equal((await mirror.get(path, login("robot:x", "robot-pw"))).status, 401);
  t.equal((await mirror.get(path, login("robot", "x:robot-pw"))).status, 401);
});
