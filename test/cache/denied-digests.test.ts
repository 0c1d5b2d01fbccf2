// A denied tag is denied by its digest too, as far as this node knows what the tag stands for, and is in no list.
import t, { type Test } from "tap";
import type { UpstreamConfig } from "../../src/config/config.ts";
import { makeImage, makeIndex } from "../fixtures/images.ts";
import { type Mirror, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const hidden = makeImage({ layers: [10], seed: "hidden" });
const open = makeImage({ layers: [20], seed: "open" });
const platforms = [
  makeImage({ layers: [30], seed: "arm" }),
  makeImage({ layers: [40], seed: "amd" }),
] as const;
const index = makeIndex([...platforms]);

/** The mirror again, over the same cache, with other rules. */
function start(t: Test, upstream: ScriptedUpstream, rules: Partial<UpstreamConfig>, directory: string) {
  return startMirror(t, upstream, {
    upstream: rules,
    cache: { dir: directory },
  });
}

async function statuses(mirror: Mirror, paths: readonly string[]): Promise<number[]> {
  const answers = await Promise.all(paths.map((path) => mirror.get(path)));
  return answers.map(({ status }) => status);
}

const manifest = (digest: string, repository = "team/app"): string => `/v2/${repository}/manifests/${digest}`;
const blob = (digest: string, repository = "team/app"): string => `/v2/${repository}/blobs/${digest}`;
const layerOf = ({ layers }: typeof hidden): string => layers[0]?.digest ?? "";

/** What a mirror without rules was asked for: two tags of one image each, one of an index, one of its images. */
async function filled(t: Test): Promise<{ upstream: ScriptedUpstream; directory: string }> {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "internal", hidden);
  upstream.addImage("team/app", "1.0", open);
  upstream.addImage("team/app", "multi-internal", platforms[0]);
  upstream.addImage("team/app", "multi-internal", platforms[1]);
  upstream.addManifest("team/app", "multi-internal", index.manifest, index.mediaType);
  const directory = t.testdir();
  await t.test("without rules", async (t) => {
    const mirror = await start(t, upstream, {}, directory);
    for (const what of ["internal", "1.0", "multi-internal", platforms[0].digest])
      t.equal((await mirror.get(manifest(what))).status, 200);
    await mirror.get(blob(layerOf(hidden)));
  });
  return { upstream, directory };
}

t.test("what is known by denied tags alone is denied, whole and in part, in every way", async (t) => {
  const { upstream, directory } = await filled(t);
  const mirror = await start(t, upstream, { deny: ["team/app:*internal"] }, directory);
  const denied = [
    manifest("internal"),
    manifest(hidden.digest),
    manifest(index.digest),
    manifest(platforms[0].digest),
    blob(hidden.config.digest),
    blob(layerOf(hidden)),
    blob(layerOf(platforms[0])),
    `/v2/team/app/referrers/${hidden.digest}`,
    `/upstream/v2/team/app/manifests/${hidden.digest}`,
  ];
  t.same(
    await statuses(mirror, denied),
    denied.map(() => 403),
  );
  t.equal((await mirror.ask("HEAD", blob(layerOf(hidden)))).status, 403);
  t.equal((await mirror.get(blob(layerOf(hidden)), { range: "bytes=0-3" })).status, 403);
  t.equal((await mirror.get(manifest(hidden.digest), { "if-none-match": `"${hidden.digest}"` })).status, 403);
  t.equal((await mirror.get(blob(layerOf(hidden)), { "entrepot-node": "other" })).status, 403);
  t.same(
    await statuses(mirror, [manifest("1.0"), manifest(open.digest), blob(layerOf(open))]),
    [200, 200, 200],
    "the others are not",
  );
});

t.test("an allowed tag of the same digest frees it, and what it names", async (t) => {
  const { upstream, directory } = await filled(t);
  const mirror = await start(t, upstream, { deny: ["team/app:internal"] }, directory);
  t.same(await statuses(mirror, [manifest(hidden.digest), blob(layerOf(hidden))]), [403, 403]);
  upstream.addImage("team/app", "public", hidden);
  t.equal((await mirror.get(manifest("public"))).status, 200);
  t.same(await statuses(mirror, [manifest(hidden.digest), blob(layerOf(hidden))]), [200, 200]);
});

t.test(
  "an allow list of tags denies the digests of the others; another repository is another matter",
  async (t) => {
    const { upstream, directory } = await filled(t);
    upstream.addImage("team/other", "1.0", hidden);
    const mirror = await start(t, upstream, { allow: ["team/app:1.*", "team/other"] }, directory);
    t.same(await statuses(mirror, [manifest(hidden.digest), manifest(open.digest)]), [403, 200]);
    t.equal((await mirror.get(manifest(hidden.digest, "team/other"))).status, 200);
    t.equal((await mirror.get(blob(layerOf(hidden), "team/other"))).status, 200);
  },
);

t.test("a digest that no tag here stands for is not denied: the rule is no wall", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "internal", hidden);
  const mirror = await start(t, upstream, { deny: ["team/app:internal"] }, t.testdir());
  t.equal((await mirror.get(manifest("internal"))).status, 403);
  t.equal((await mirror.get(manifest(hidden.digest))).status, 200);
});

t.test("denied tags are in no page of tags/list, and in no link", async (t) => {
  const upstream = await startUpstream(t);
  const tags = ["a", "a-internal", "b-internal", "c", "c-internal", "d", "e", "z-internal"];
  for (const tag of tags) upstream.addImage("team/app", tag, open);
  upstream.addImage("team/other", "a-internal", open);
  const mirror = await start(t, upstream, { deny: ["team/app:*-internal"] }, t.testdir());
  for (const n of [1, 2, 3, 4, 5]) {
    const seen: string[] = [];
    let pages = 0;
    for (let next: string | undefined = `/v2/team/app/tags/list?n=${n}`; next !== undefined; pages++) {
      const { body, headers } = await mirror.get(next);
      const page = (JSON.parse(body.toString()) as { tags: string[] }).tags;
      t.ok(page.length > 0 && page.length <= n);
      t.notMatch(headers.link ?? "", "internal");
      seen.push(...page);
      next = /^<([^>]+)>/.exec(headers.link ?? "")?.[1];
    }
    t.same(seen, ["a", "c", "d", "e"], `n=${n}`);
    t.equal(pages, Math.ceil(4 / n), "no empty page");
  }
  const whole = await mirror.get("/v2/team/app/tags/list");
  t.same(JSON.parse(whole.body.toString()), { name: "team/app", tags: ["a", "c", "d", "e"] });
  const other = await mirror.get("/v2/team/other/tags/list");
  t.same(JSON.parse(other.body.toString()), { name: "team/other", tags: ["a-internal"] });
  const none = await mirror.get("/v2/team/app/tags/list?n=3&last=e");
  t.same(JSON.parse(none.body.toString()), { name: "team/app", tags: [] });
  t.equal(none.headers.link, undefined);
});

t.test("denied repositories are in no page of the catalog", async (t) => {
  const upstream = await startUpstream(t);
  const names = ["a/one", "secret/a", "secret/b", "secret/c", "team/app", "team/tool"];
  const directory = t.testdir();
  await t.test("without rules", async (t) => {
    const mirror = await start(t, upstream, {}, directory);
    for (const name of names) {
      upstream.addImage(name, "1", open);
      await mirror.get(manifest("1", name));
    }
  });
  const mirror = await start(t, upstream, { deny: ["secret/**"] }, directory);
  for (const n of [1, 2, 3, 100]) {
    const seen: string[] = [];
    for (let next: string | undefined = `/v2/_catalog?n=${n}`; next !== undefined; ) {
      const { body, headers } = await mirror.get(next);
      const page = (JSON.parse(body.toString()) as { repositories: string[] }).repositories;
      t.ok(page.length > 0 && page.length <= n);
      t.notMatch(headers.link ?? "", "secret");
      seen.push(...page);
      next = /^<([^>]+)>/.exec(headers.link ?? "")?.[1];
    }
    t.same(seen, ["a/one", "team/app", "team/tool"], `n=${n}`);
  }
});
