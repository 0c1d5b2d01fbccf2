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

t.test(
  "behind a proxy that serves this mirror below a path, links and locations lead back below it",
  async (t) => {
    const upstream = await startUpstream(t);
    const push = { push: true };
    upstream.fault(({ method }) =>
      method === "POST"
        ? {
            status: 202,
            headers: { location: `${upstream.url.pathname}/v2/team/app/blobs/uploads/id?_state=x` },
          }
        : undefined,
    );
    for (const tag of ["a", "b", "c"]) upstream.addImage("team/app", tag, makeImage({ layers: [10] }));
    const list = "/v2/team/app/tags/list?n=1";
    const header = { "x-forwarded-prefix": "/registry" };
    const linkOf = async (mirror: Mirror, path: string, headers: Record<string, string> = {}) =>
      /<(.*)>/.exec((await mirror.get(path, headers)).headers.link ?? "")?.[1];
    // Made once: making it again empties it under the mirrors that run.
    const root = t.testdir({ plain: {}, behind: {}, below: {} });
    const plain = await startMirror(t, upstream, { upstream: push, cache: { dir: `${root}/plain` } });
    t.equal(await linkOf(plain, list, header), `${list}&last=a`, "not of a proxy that is trusted");
    const behind = await startMirror(t, upstream, {
      upstream: push,
      trustedProxies: ["127.0.0.1"],
      cache: { dir: `${root}/behind` },
    });
    t.equal(await linkOf(behind, list, header), `/registry${list}&last=a`);
    t.equal(await linkOf(behind, list), `${list}&last=a`, "each request by itself");
    t.equal(
      await linkOf(behind, "/upstream/v2/team/app/tags/list?n=1", header),
      `/registry/upstream${list}&last=a`,
    );
    t.equal(await linkOf(behind, list, { "x-forwarded-prefix": "//evil" }), `${list}&last=a`);
    const below = await startMirror(t, upstream, {
      upstream: push,
      basePath: "/registry",
      cache: { dir: `${root}/below` },
    });
    for (const path of [list, `/registry${list}`])
      t.equal(await linkOf(below, path), `/registry${list}&last=a`);
    t.strictSame(await pages(below, `/registry${list}`, "tags"), [["a"], ["b"], ["c"]]);
    t.equal((await below.get("/registry/v2/")).status, 200);
    t.equal((await below.get("/registry")).status, 404);
    const begun = await below.ask("POST", "/v2/team/app/blobs/uploads/");
    t.match(begun, { status: 202, headers: { location: /^\/registry\/v2\/team\/app\/blobs\/uploads\/id/ } });
    t.equal(
      upstream.requests.some(({ headers }) => "x-forwarded-prefix" in headers),
      false,
    );
  },
);

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
  t.strictSame(await pages(mirror, "/v2/_catalog?n=4", "repositories"), [names], "no empty page at the end");
  t.strictSame(await pages(mirror, "/v2/_catalog?n=2", "repositories"), [names.slice(0, 2), names.slice(2)]);
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

t.test(
  "tags/list is asked once in ten seconds, then again; stale and marked when upstream fails",
  async (t) => {
    let now = Date.parse("2026-01-01T00:00:00Z");
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream, { clock: () => now });
    const image = makeImage({ layers: [10] });
    upstream.addImage("team/app", "1", image);
    const list = async (): Promise<{
      tags: string[];
      age: string | undefined;
      warning: string | undefined;
    }> => {
      const { body, headers } = await mirror.get("/v2/team/app/tags/list");
      const { tags } = JSON.parse(body.toString()) as { tags: string[] };
      return { tags, age: headers.age, warning: headers.warning };
    };
    t.match(await list(), { tags: ["1"], age: "0", warning: undefined });
    upstream.addImage("team/app", "2", image);
    now += 9_999;
    t.match(await list(), { tags: ["1"], age: "9", warning: undefined });
    t.equal(upstream.count({ kind: "tags" }), 1);
    now += 1;
    t.match(await list(), { tags: ["1", "2"], age: "0" });
    now += 3_600_000;
    upstream.fault(() => ({ status: 503 }));
    t.match(await list(), {
      tags: ["1", "2"],
      age: "3600",
      warning: /^299 - "stale listing: .*server_error/,
    });
    const asked = upstream.count({ kind: "tags" });
    t.match(await list(), { age: "3600" });
    t.equal(upstream.count({ kind: "tags" }), asked, "a failing upstream is not asked for every request");
    now += 8 * 24 * 3_600_000;
    t.equal((await mirror.get("/v2/team/app/tags/list")).status, 502, "beyond the bound");
  },
);

t.test("a repository upstream no longer has is gone from the listings too", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { clock: () => now });
  upstream.addImage("team/app", "1", makeImage({ layers: [10] }));
  t.equal((await mirror.get("/v2/team/app/tags/list")).status, 200);
  now += 60_000;
  upstream.fault(({ kind }) => (kind === "tags" ? { status: 404 } : undefined));
  t.equal((await mirror.get("/v2/team/app/tags/list")).status, 404);
});

t.test(
  "referrers: verbatim with the exact type, filtered lists apart, absent where there are none",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    const image = makeImage({ layers: [10] });
    upstream.addImage("team/app", "1", image);
    const type = "application/vnd.oci.image.index.v1+json";
    const path = `/v2/team/app/referrers/${image.digest}`;
    const other = makeImage({ layers: [10], seed: "other" }).digest;
    for (let i = 0; i < 2; i++) {
      const absent = await mirror.get(`/v2/team/app/referrers/${other}`);
      t.equal(absent.status, 404);
      t.notOk(absent.headers.warning);
      t.match(JSON.parse(absent.body.toString()), { errors: [{ code: "MANIFEST_UNKNOWN" }] });
    }
    t.equal(upstream.count({ kind: "referrers" }), 1, "that there are none is remembered");
    const all =
      '{"schemaVersion": 2, "mediaType":"application/vnd.oci.image.index.v1+json", "manifests":[{"a":1},{"b":2}]}';
    const some = '{"schemaVersion":2,"manifests":[{"a":1}]}';
    upstream.fault(({ kind, query }) => {
      if (kind !== "referrers") return undefined;
      const filtered = query.get("artifactType") === "application/x";
      return {
        status: 200,
        headers: { "content-type": type, ...(filtered ? { "oci-filters-applied": "artifactType" } : {}) },
        body: filtered ? some : all,
      };
    });
    for (let i = 0; i < 2; i++) {
      const whole = await mirror.get(path);
      t.equal(whole.body.toString(), all);
      t.equal(whole.headers["content-type"], type);
      t.notOk(whole.headers["oci-filters-applied"]);
      const filtered = await mirror.get(`${path}?artifactType=application/x`);
      t.equal(filtered.body.toString(), some);
      t.equal(filtered.headers["oci-filters-applied"], "artifactType");
    }
    t.equal(
      upstream.count({ kind: "referrers" }),
      3,
      "each list asked once, besides the first that was absent",
    );
  },
);

t.test("referrers in pages come as one list; a web page or another type is absent", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const type = "application/vnd.oci.image.index.v1+json";
  const subject = (seed: string): string => makeImage({ layers: [10], seed }).digest;
  const heal = upstream.fault(({ kind, query }) => {
    if (kind !== "referrers") return undefined;
    const page = Number(query.get("page") ?? 0);
    const link = page < 2 ? { link: `</elsewhere?page=${page + 1}>; rel="next"` } : {};
    const body = JSON.stringify({ schemaVersion: 2, manifests: [{ page }] });
    return { status: 200, headers: { "content-type": type, ...link }, body };
  });
  const paged = await mirror.get(`/v2/team/app/referrers/${subject("paged")}`);
  t.match(JSON.parse(paged.body.toString()), {
    schemaVersion: 2,
    manifests: [{ page: 0 }, { page: 1 }, { page: 2 }],
  });
  t.notOk(paged.headers.link);
  heal();
  for (const fault of [
    { html: true },
    { status: 200, headers: { "content-type": "application/json" }, body: "{}" },
    { status: 405 },
  ]) {
    const undo = upstream.fault(({ kind }) => (kind === "referrers" ? fault : undefined));
    t.equal((await mirror.get(`/v2/team/app/referrers/${subject(JSON.stringify(fault))}`)).status, 404);
    undo();
  }
});

t.test("2,500 tags, page by page: all of them, once each, in order", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  const tags = Array.from({ length: 2_500 }, (_, i) => `build-${String(i).padStart(5, "0")}`);
  for (const tag of tags) upstream.addImage("team/app", tag, image);
  const byHundred = await pages(mirror, "/v2/team/app/tags/list?n=100", "tags");
  t.equal(byHundred.length, 25);
  t.strictSame(byHundred.flat(), tags);
  t.strictSame((await pages(mirror, "/v2/team/app/tags/list?n=2000", "tags")).flat(), tags);
  t.strictSame((await pages(mirror, "/v2/team/app/tags/list", "tags")).flat(), tags);
});

t.test(
  "a list that upstream gives as a whole only is asked for once, whatever pages of it are",
  async (t) => {
    const upstream = await startUpstream(t, { ignoresPaging: true });
    let now = Date.now();
    const mirror = await startMirror(t, upstream, { clock: () => now });
    const image = makeImage({ layers: [10] });
    const tags = Array.from({ length: 2_501 }, (_, i) => `build-${String(i).padStart(5, "0")}`);
    for (const tag of tags) upstream.addImage("team/app", tag, image);
    t.strictSame((await pages(mirror, "/v2/team/app/tags/list?n=1000", "tags")).flat(), tags);
    t.strictSame((await pages(mirror, "/v2/team/app/tags/list?n=300", "tags")).flat(), tags);
    t.strictSame((await pages(mirror, "/v2/team/app/tags/list", "tags")).flat(), tags);
    t.equal(upstream.count({ kind: "tags" }), 1);
    upstream.removeTag("team/app", "build-00001");
    now += 60_000;
    t.strictSame((await pages(mirror, "/v2/team/app/tags/list?n=1000", "tags")).flat(), tags.toSpliced(1, 1));
    t.equal(upstream.count({ kind: "tags" }), 2, "and again when it is too old");
    now += 60_000;
    await upstream.stop();
    const last = await mirror.get("/v2/team/app/tags/list?n=2&last=build-02498");
    t.strictSame(JSON.parse(last.body.toString()).tags, ["build-02499", "build-02500"]);
    t.match(last.headers.warning, /stale listing/, "a page nobody asked for before, while upstream is away");
  },
);

t.test("a list from memory is not written as JSON again for each client", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  upstream.addImage("team/app", "1", makeImage({ layers: [10] }));
  const { stringify } = JSON;
  t.teardown(() => {
    JSON.stringify = stringify;
  });
  let written = 0;
  JSON.stringify = ((value: unknown, ...rest: []) => {
    if (typeof value === "object" && value !== null && "name" in value && "tags" in value) written++;
    return stringify(value, ...rest);
  }) as typeof stringify;
  const ask = async (path: string): Promise<string> => (await mirror.get(path)).body.toString();
  for (let each = 1; each <= 3; each++)
    t.equal(await ask("/v2/team/app/tags/list"), '{"name":"team/app","tags":["1"]}');
  t.equal(written, 1);
  t.equal(await ask("/upstream/v2/team/app/tags/list?n=1"), '{"name":"team/app","tags":["1"]}');
  t.equal(written, 2, "but for one who asks in another way");
});
