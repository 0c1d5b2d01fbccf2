import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

async function pages(mirror: Mirror, path: string, field: "tags" | "repositories"): Promise<string[][]> {
  const seen: string[][] = [];
  for (let next: string | undefined = path; next !== undefined; ) {
    const answer = await mirror.get(next);
    seen.push((JSON.parse(answer.body.toString()) as Record<string, string[]>)[field] as string[]);
    next = /^<([^>]+)>; rel="next"$/.exec(answer.headers.link ?? "")?.[1];
  }
  return seen;
}

for (const ignoresPaging of [false, true]) {
  t.test(
    `tags/list page by page, upstream ${ignoresPaging ? "ignoring" : "honouring"} n and last`,
    async (t) => {
      const upstream = await startUpstream(t, { ignoresPaging });
      const mirror = await startMirror(t, upstream);
      const image = makeImage({ layers: [10] });
      const tags = Array.from({ length: 25 }, (_, i) => `v${i}`).sort();
      for (const tag of tags) upstream.addImage("team/app", tag, image);
      t.strictSame(await pages(mirror, "/v2/team/app/tags/list", "tags"), [tags]);
      const byTen = await pages(mirror, "/v2/team/app/tags/list?n=10", "tags");
      t.strictSame(byTen, [tags.slice(0, 10), tags.slice(10, 20), tags.slice(20)]);
      t.strictSame(await pages(mirror, "/v2/team/app/tags/list?n=0", "tags"), [[]]);
      t.strictSame(await pages(mirror, "/v2/team/app/tags/list?n=5&last=v22", "tags"), [
        tags.slice(16, 21),
        tags.slice(21),
      ]);
      const first = await mirror.get("/upstream/v2/team/app/tags/list?n=10&ns=docker.io");
      t.match(
        first.headers.link,
        /^<\/upstream\/v2\/team\/app\/tags\/list\?n=10&last=[^&]+&ns=docker.io>; rel="next"$/,
      );
      t.notMatch(first.headers.link, upstream.url.host, "upstream's own address does not leak");
    },
  );
}

t.test("tags/list of an unknown repository, a bad n, a failing upstream", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const unknown = await mirror.get("/v2/no/such/tags/list");
  t.equal(unknown.status, 404);
  t.match(JSON.parse(unknown.body.toString()), { errors: [{ code: "NAME_UNKNOWN" }] });
  for (const n of ["-1", "x", "1.5"])
    t.equal((await mirror.get(`/v2/a/tags/list?n=${n}`)).status, 400, `n=${n}`);
  upstream.fault(() => ({ status: 500 }));
  t.equal((await mirror.get("/v2/a/tags/list")).status, 502);
});

t.test("the catalog is empty at first, then lists what is here, in pages", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  t.equal((await mirror.get("/v2/_catalog")).body.toString(), '{"repositories":[]}');
  const names = ["busybox", "team/app", "team/base", "x"];
  for (const name of names) {
    upstream.addImage(name, "1", makeImage({ layers: [10], seed: name }));
    await mirror.get(`/v2/${name}/manifests/1`);
  }
  t.strictSame(await pages(mirror, "/v2/_catalog", "repositories"), [names]);
  t.strictSame(await pages(mirror, "/v2/_catalog?n=3", "repositories"), [names.slice(0, 3), names.slice(3)]);
  t.strictSame(await pages(mirror, "/v2/_catalog?n=0", "repositories"), [[]]);
  t.equal((await mirror.get("/v2/_catalog?n=999999999999999")).status, 200);
  t.equal(upstream.count({ kind: "other" }), 0, "upstream's own catalog is never asked");
});

t.test("the catalog can be switched off", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { catalog: false });
  const answer = await mirror.get("/v2/_catalog");
  t.equal(answer.status, 404);
  t.match(JSON.parse(answer.body.toString()), { errors: [{ code: "UNSUPPORTED" }] });
});
