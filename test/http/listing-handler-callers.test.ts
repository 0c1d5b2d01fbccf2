// Lists that are kept in memory are made anew for each caller that may see only a part of them.
import t from "tap";
import { login, namedAccess, rule } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "lists" });

t.test("every caller sees its own tags and repositories, on every page", async (t) => {
  const upstream = await startUpstream(t);
  const tags = ["1", "2", "v1", "v2", "v3"];
  for (const tag of tags) upstream.addImage("team/app", tag, image);
  upstream.addImage("other/app", "1", image);
  const mirror = await startMirror(t, upstream, {
    access: namedAccess({ all: "1", vee: "2", two: "3", hidden: "4" }, [
      rule({ users: ["all"] }),
      rule({ users: ["vee"], repositories: ["team/**"], tags: ["v*"] }),
      rule({ users: ["two"], repositories: ["team/**"], tags: ["2", "v2"] }),
      rule({ users: ["hidden"], verbs: ["pull"] }),
    ]),
  });
  const list = async (path: string, name: string, password: string) => {
    const { status, body, headers } = await mirror.get(path, login(name, password));
    return { status, ...JSON.parse(body.toString()), link: headers.link };
  };
  const path = "/v2/team/app/tags/list";
  // Twice: what is given at first is what is kept.
  for (let round = 0; round < 2; round++) {
    t.match(await list(path, "all", "1"), { status: 200, tags });
    t.match(await list(path, "vee", "2"), { status: 200, tags: ["v1", "v2", "v3"] });
    t.match(await list(path, "two", "3"), { status: 200, tags: ["2", "v2"] });
    t.match(await list(path, "hidden", "4"), { status: 403 });
  }
  const first = await list(`${path}?n=2`, "vee", "2");
  t.match(first, { tags: ["v1", "v2"], link: /last=v2/ });
  t.match(await list(`${path}?n=2&last=v2`, "vee", "2"), { tags: ["v3"], link: undefined });
  for (const repository of ["team/app", "other/app"])
    await mirror.get(`/v2/${repository}/manifests/1`, login("all", "1"));
  t.match(await list("/v2/_catalog", "all", "1"), { repositories: ["other/app", "team/app"] });
  t.match(await list("/v2/_catalog", "vee", "2"), { repositories: ["team/app"] });
  t.match(await list("/v2/_catalog", "hidden", "4"), { status: 403 });
});
