import t from "tap";
import { connectUpstream, found, idle, repository, upstreamError } from "../fixtures/connected-upstream.ts";
import { type Owner, startUpstream, type UpstreamOptions } from "../fixtures/scripted-upstream.ts";

const all = ["1.0", "10.0", "Latest", "_x", "a", "b", "latest"];

async function setUp(t: Owner, options: UpstreamOptions = {}) {
  const registry = await startUpstream(t, options);
  const body = Buffer.from("{}");
  for (const tag of [...all].reverse()) registry.addManifest(repository, tag, body, "application/json");
  return { registry, ...connectUpstream(t, registry.url) };
}

for (const ignoresPaging of [false, true]) {
  t.test(`pages, from a registry that ${ignoresPaging ? "ignores" : "honours"} n and last`, async (t) => {
    const { registry, upstream } = await setUp(t, { ignoresPaging });
    const page = async (n: number | undefined, last?: string) => {
      const { whole, ...rest } = found(await upstream.listTags(repository, n, last));
      t.same(whole, ignoresPaging && (n ?? all.length) < all.length ? all : undefined);
      return rest;
    };
    t.same(await page(3), { kind: "found", tags: ["1.0", "10.0", "Latest"], more: true });
    t.same(await page(3, "Latest"), { kind: "found", tags: ["_x", "a", "b"], more: true });
    t.same(await page(3, "b"), { kind: "found", tags: ["latest"], more: false });
    t.same(await page(7), { kind: "found", tags: all, more: false });
    t.same(
      await page(undefined, "aa"),
      { kind: "found", tags: ["b", "latest"], more: false },
      "last need not exist",
    );
    t.same(await page(5, "zzz"), { kind: "found", tags: [], more: false });
    t.same(await page(undefined), { kind: "found", tags: all, more: false });
    t.equal(registry.count({ kind: "tags" }), 7, "one request each");
  });
}

t.test("n=0 asks only whether the repository is there", async (t) => {
  const { registry, upstream } = await setUp(t);
  t.same(await upstream.listTags(repository, 0, undefined), { kind: "found", tags: [], more: false });
  t.equal(registry.requests[0]?.query.get("n"), "1");
  t.match(await upstream.listTags("team/none" as typeof repository, 0, undefined), { kind: "absent" });
});

t.test("a huge n is asked for in pages registries grant", async (t) => {
  const { registry, upstream } = await setUp(t);
  t.match(await upstream.listTags(repository, 999_999_999, undefined), { tags: all });
  t.equal(registry.requests[0]?.query.get("n"), "1000");
});

t.test("arguments are escaped", async (t) => {
  const { registry, upstream } = await setUp(t);
  await upstream.listTags(repository, 2, "a&n=9#/../x");
  t.match(registry.requests[0]?.path, /\/tags\/list\?n=2&last=a%26n%3D9%23%2F..%2Fx$/);
});

t.test("a registry that pages by itself is followed by the query of its links alone", async (t) => {
  const { registry, upstream } = await setUp(t);
  const links: Record<string, string> = {
    "": '<http://10.0.0.1:8081/elsewhere/v2/other/tags/list?cursor=two&n=2>; rel="next"',
    two: '</v2/x?cursor=zero>; rel="prev", </v2/team/app/tags/list?cursor=three>; title="a,b"; rel=next',
  };
  registry.fault(({ query }) => {
    const cursor = query.get("cursor") ?? "";
    const tags = { "": ["b", "a"], two: ["c"], three: ["d", "a"] }[cursor];
    return { status: 200, body: JSON.stringify({ tags }), headers: { link: links[cursor] } };
  });
  t.same(await upstream.listTags(repository, undefined, undefined), {
    kind: "found",
    tags: ["a", "b", "c", "d"],
    more: false,
  });
  t.match(
    registry.requests.map(({ path }) => path.replace(/^.*v2/, "")),
    ["/team/app/tags/list", "/team/app/tags/list?cursor=two&n=2", "/team/app/tags/list?cursor=three"],
  );
  t.ok(registry.requests.every(({ headers }) => headers.authorization));
});

t.test("a list of several MiB in one page", async (t) => {
  const { registry, upstream } = await setUp(t);
  const tags = Array.from({ length: 60_000 }, (_, at) => `build-${String(at).padStart(70, "0")}`);
  registry.fault(() => ({ status: 200, body: JSON.stringify({ name: repository, tags }) }));
  t.same(await upstream.listTags(repository, undefined, undefined), { kind: "found", tags, more: false });
  t.match(await upstream.listTags(repository, 2, tags[1]), {
    tags: tags.slice(2, 4),
    more: true,
    whole: tags,
  });
});

t.test("a list that is too large for one page is asked for in pages", async (t) => {
  const { registry, upstream } = await setUp(t);
  registry.fault(({ query }) =>
    query.has("n") ? undefined : { status: 200, body: Buffer.alloc(16 * 1024 * 1024 + 1, " ") },
  );
  t.same(await upstream.listTags(repository, undefined, undefined), {
    kind: "found",
    tags: all,
    more: false,
  });
  t.same(
    registry.requests.map(({ query }) => query.get("n")),
    [null, "1000"],
  );
});

t.test("a registry whose order is not ASCII is read to the end of its list, and paged here", async (t) => {
  const created = ["v2", "v10", "v1", "b", "a", "V3"];
  const sorted = [...created].sort();
  for (const [what, cursor] of [
    ["begins after `last` in its own order", "last"],
    ["knows a token of its own, and not `last`", "token"],
  ] as const) {
    const { registry, upstream } = await setUp(t);
    registry.fault(({ path, query }) => {
      const from = created.indexOf(query.get(cursor) ?? "") + 1;
      const n = Math.min(Number(query.get("n") ?? 4), 4);
      const tags = created.slice(from, from + n);
      const link = `<${path.split("?")[0]}?n=${n}&${cursor}=${tags.at(-1)}>; rel="next"`;
      const headers = from + n < created.length ? { link } : {};
      return { status: 200, body: JSON.stringify({ name: repository, tags }), headers };
    });
    for (let last: string | undefined, got: string[] = []; ; ) {
      const page = found(await upstream.listTags(repository, 4, last));
      got = [...got, ...page.tags];
      last = got.at(-1);
      if (page.whole !== undefined) t.same(page.whole, sorted, what);
      if (page.more) continue;
      t.same(got, sorted, what);
      break;
    }
    t.ok(registry.requests.every(({ query }) => Number(query.get("n")) <= 1000));
  }
});

t.test("links that never end do", async (t) => {
  const { registry, upstream } = await setUp(t);
  let page = 0;
  let fresh = false;
  registry.fault(({ path }) => ({
    status: 200,
    body: JSON.stringify({ tags: [fresh ? `t${page++}` : "same"] }),
    headers: { link: `<${path}?x=1>; rel="next"` },
  }));
  t.match(await upstream.listTags(repository, undefined, undefined), { tags: ["same"], more: false });
  t.equal(registry.count(), 2, "a page without new tags is the last");
  fresh = true;
  registry.forget();
  t.match(await upstream.listTags(repository, undefined, undefined), { tags: { length: 100 }, more: true });
  t.equal(registry.count(), 100);
});

t.test("a list has a length", async (t) => {
  const { registry, upstream } = await setUp(t);
  const tags = Array.from({ length: 100_001 }, (_, at) => `t${at}`);
  registry.fault(({ path }) => ({
    status: 200,
    body: JSON.stringify({ tags }),
    headers: { link: `<${path}?x>; rel="next"` },
  }));
  const answer = found(await upstream.listTags(repository, undefined, undefined));
  t.equal(answer.tags.length, 100_000);
  t.ok(answer.more);
  t.equal(registry.count(), 1);
});

t.test("a list has a time for all its pages", async (t) => {
  const registry = await startUpstream(t);
  let now = 0;
  registry.fault(({ path }) => {
    now += 5_000;
    return { status: 200, body: `{"tags":["t${now}"]}`, headers: { link: `<${path}?x>; rel="next"` } };
  });
  const timeouts = { firstByteTimeout: 2_000, idleTimeout: 2_000 };
  const { upstream } = connectUpstream(t, registry.url, timeouts, () => now);
  const error = await upstreamError(upstream.listTags(repository, undefined, undefined));
  t.match(error, { code: "timeout" });
  t.equal(registry.count(), 4, "2 s + 4 * 2 s");
});

t.test("what is no tag list", async (t) => {
  const { registry, upstream } = await setUp(t);
  let body: string | Buffer = "";
  registry.fault(() => ({ status: 200, body }));
  const ask = () => upstream.listTags(repository, undefined, undefined);
  for (body of ["", "[]", "null", "7", '{"tags":{}}', "{}", '{"errors":[{"code":"DENIED"}]}', "<html>"]) {
    t.equal((await upstreamError(ask())).code, "protocol", body);
  }
  for (body of ['{"tags":null}', '{"name":"x","tags":null}', '{"name":"x"}'])
    t.same(await ask(), { kind: "found", tags: [], more: false }, body);
  body = JSON.stringify({ tags: ["ok", 7, null, "../x", "a b", "-no", "", "x".repeat(129), "ok"] });
  t.same(
    await ask(),
    { kind: "found", tags: ["ok"], more: false },
    "names that cannot be asked for are left out",
  );
  body = Buffer.alloc(16 * 1024 * 1024 + 1, " ");
  t.equal((await upstreamError(ask())).code, "too_large");
  await idle(upstream);
});

t.test("a list with more in it than is read is not parsed", async (t) => {
  const { registry, upstream } = await setUp(t);
  const { parse } = JSON;
  t.teardown(() => {
    JSON.parse = parse;
  });
  let body = "";
  JSON.parse = (...asked) => {
    if (asked[0] === body) throw new Error("parsed");
    return parse(...asked);
  };
  registry.fault(() => ({ status: 200, body }));
  for (body of [
    `{"tags":[${'"a",'.repeat(250_000)}"a"]}`,
    `{"tags":[${"{},".repeat(1_000)}{}]}`,
    `{"tags":[],"x":{${Array.from({ length: 1_000 }, (_, at) => `"k${at}":1`).join(",")}}}`,
    `{"tags":[],"x":${"[".repeat(17)}${"]".repeat(17)}}`,
  ])
    t.equal((await upstreamError(upstream.listTags(repository, undefined, undefined))).code, "too_large");
  await idle(upstream);
});

t.test("referrers with more in them than is read are not parsed", async (t) => {
  const { registry, upstream } = await setUp(t);
  const digest = registry.addManifest(repository, "1.0", Buffer.from("{}"), "application/json");
  const headers = { "content-type": "application/vnd.oci.image.index.v1+json" };
  registry.fault(() => ({ status: 200, headers, body: `{"manifests":[${"{},".repeat(50_000)}{}]}` }));
  t.equal((await upstreamError(upstream.listReferrers(repository, digest, undefined))).code, "too_large");
  await idle(upstream);
});
