import t, { type Test } from "tap";
import { PurgePlans } from "../../../src/cache/purge/purge-plan.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository, Tag } from "../../../src/oci/name.ts";
import type { PurgeSubject } from "../../../src/ports/purge/purges.ts";
import type { NamedPart } from "../../../src/ports/records.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/images.ts";

const app: Scope = { upstream: "hub", repository: "team/app" as Repository };
const tool: Scope = { upstream: "hub", repository: "team/tool" as Repository };
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const names = new Map<Digest, string>();

function named(name: string): Digest {
  const digest = digestOf(Buffer.from(name));
  names.set(digest, name);
  return digest;
}

function setUp(t: Test) {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  /** An image, or with `role` an index of images, that is here and that the repository is linked to, with all it names. */
  const add = async (
    scope: Scope,
    name: string,
    parts: readonly string[],
    role: "layer" | "manifest" = "layer",
  ) => {
    const children: NamedPart[] = parts.map((part) => ({ digest: named(part), size: 100, role }));
    index.blobs.setChildren(named(name), children);
    index.blobs.add(named(name), 5, mediaType, 1);
    if (role === "layer") for (const { digest } of children) index.blobs.add(digest, 100, undefined, 1);
    const linked = role === "layer" ? children : [];
    await index.links.add(scope, [
      { digest: named(name), size: 5 },
      ...linked.map(({ digest }) => ({ digest, size: 100 })),
    ]);
  };
  const tag = (scope: Scope, tag: string, name: string) =>
    index.tags.put(scope, tag as Tag, { digest: named(name), mediaType, size: 5, checkedAt: 1 });
  /** Manifests whose parts were asked for. */
  const looks: Digest[] = [];
  const plans = new PurgePlans({
    graph: {
      parts: (digest, limit) => {
        looks.push(digest);
        return index.graph.parts(digest, limit);
      },
      referrers: (...asked) => index.graph.referrers(...asked),
      userBesides: (...asked) => index.graph.userBesides(...asked),
      users: (...asked) => index.graph.users(...asked),
    },
    index: index.blobs,
    record: (scope, tag) => index.tags.get(scope, tag),
    tagsOf: (...page) => index.tags.page(...page),
    repositoriesOf: (...asked) => index.links.repositoriesOf(...asked),
    linked: (scope, after, limit) =>
      index.links.page(scope, after as Parameters<typeof index.links.page>[1], limit),
  });
  const plan = async (subject: Partial<PurgeSubject>, parts: readonly string[] = []) => {
    const whole = { scope: undefined, tag: undefined, digest: undefined, ...subject };
    const { goes, stays, tags } = await plans.plan(whole, parts.map(named));
    return {
      tags: tags.map(({ tag }) => tag as string),
      goes: goes.map(({ digest }) => names.get(digest)).sort(),
      stays: Object.fromEntries(stays.map(({ digest, user }) => [names.get(digest), user.by])),
    };
  };
  return { index, add, tag, plans, plan, looks };
}

const tagOf = (tag: string) => ({ scope: app, tag: tag as Tag });

t.test("a tag goes with its image, and not with what another tag or image uses", async (t) => {
  const { add, tag, plan } = setUp(t);
  await add(app, "one", ["base", "one layer"]);
  await add(app, "two", ["base", "two layer"]);
  await tag(app, "1", "one");
  await tag(app, "2", "two");
  t.same(await plan(tagOf("1")), {
    tags: ["1"],
    goes: ["one", "one layer"],
    stays: { base: "tag" },
  });
  await tag(app, "alias", "one");
  t.same(await plan(tagOf("1")), {
    tags: ["1"],
    goes: [],
    stays: { one: "tag", base: "tag", "one layer": "tag" },
  });
  t.same(await plan(tagOf("none")), { tags: [], goes: [], stays: {} });
  t.same(
    await plan(tagOf("none"), ["one layer", "nobody's"]),
    { tags: [], goes: ["nobody's"], stays: { "one layer": "tag" } },
    "what other nodes know to go",
  );
});

t.test("an index goes with its images, but for one that is tagged, or of another index", async (t) => {
  const { add, tag, plan } = setUp(t);
  await add(app, "amd", ["amd layer"]);
  await add(app, "arm", ["arm layer"]);
  await add(app, "s390", ["s390 layer"]);
  await add(app, "index", ["amd", "arm", "s390"], "manifest");
  await add(app, "other", ["s390"], "manifest");
  await tag(app, "1", "index");
  await tag(app, "arm", "arm");
  t.same(await plan(tagOf("1")), {
    tags: ["1"],
    goes: ["amd", "amd layer", "index"],
    stays: { arm: "tag", "arm layer": "tag", s390: "manifest", "s390 layer": "manifest" },
  });
  t.same(
    (await plan({ scope: app, digest: named("amd") })).goes,
    ["amd", "amd layer"],
    "an image by its digest, also when an index names it",
  );
});

t.test("what refers to an image goes with it, unless it is tagged", async (t) => {
  const { index, add, tag, plan } = setUp(t);
  await add(app, "one", ["layer"]);
  await add(app, "signature", ["signed"]);
  await add(app, "tagged signature", ["also signed"]);
  for (const name of ["signature", "tagged signature"])
    index.blobs.setChildren(named(name), [], named("one"));
  await tag(app, "1", "one");
  await tag(app, "sha256-1.sig", "tagged signature");
  t.same(await plan(tagOf("1")), {
    tags: ["1"],
    goes: ["layer", "one", "signature", "signed"],
    stays: { "tagged signature": "tag", "also signed": "tag" },
  });
  await tag(app, "alias", "one");
  t.same(
    await plan(tagOf("1")),
    {
      tags: ["1"],
      goes: [],
      stays: {
        one: "tag",
        layer: "tag",
        signature: "tag",
        signed: "tag",
        "tagged signature": "tag",
        "also signed": "tag",
      },
    },
    "and stays with it, when another tag names the image",
  );
});

t.test("what another repository has stays, until the digest goes everywhere", async (t) => {
  const { add, tag, plan } = setUp(t);
  await add(app, "one", ["base", "layer"]);
  await add(tool, "two", ["base"]);
  await tag(app, "1", "one");
  t.same((await plan({ scope: app })).goes, ["layer", "one"]);
  t.match((await plan({ scope: app })).stays, { base: "repository" });
  await add(tool, "one", ["base", "layer"]);
  t.same(await plan({ scope: app, digest: named("one") }), {
    tags: ["1"],
    goes: [],
    stays: { one: "repository", base: "repository", layer: "repository" },
  });
  t.same(await plan({ digest: named("one") }), {
    tags: ["1"],
    goes: ["layer", "one"],
    stays: { base: "manifest" },
  });
});

t.test(
  "a repository goes with all its tags and what it is known to have, of however many rows",
  async (t) => {
    const { index, add, tag, plan } = setUp(t);
    const many = Array.from({ length: 2_500 }, (_, at) => `layer ${at}`);
    await add(app, "large", many);
    for (let at = 0; at < 2_100; at++) await tag(app, `t${at}`, "large");
    await index.links.add(app, [{ digest: named("only linked"), size: 1 }]);
    await add(tool, "other", ["other layer"]);
    const { tags, goes, stays } = await plan({ scope: app });
    t.equal(tags.length, 2_100);
    t.equal(goes.length, 2_502);
    t.ok(goes.includes("only linked"));
    t.same(stays, {});
    t.same(await plan({ scope: { ...app, repository: "team/none" as Repository } }), {
      tags: [],
      goes: [],
      stays: {},
    });
  },
);

t.test("requests have their turn while much is looked at", async (t) => {
  const { index, add, tag, plans, looks } = setUp(t);
  const many = Array.from({ length: 1_000 }, (_, at) => named(`image ${at}`));
  await index.links.add(
    app,
    many.map((digest) => ({ digest, size: 1 })),
  );
  await add(app, "one", ["layer"]);
  await tag(app, "1", "one");
  let most = 0;
  let turn = setImmediate(function next() {
    most = Math.max(most, looks.splice(0).length);
    turn = setImmediate(next);
  });
  t.teardown(() => clearImmediate(turn));
  const plan = await plans.plan({ scope: app, tag: undefined, digest: undefined });
  await plans.without(plan, new Map(many.map((digest) => [digest, "b"])));
  t.ok(most > 0 && most < 500, `${most} looks at the graph in one turn`);
});

t.test("of a few digests of a subject it is known what else of it goes", async (t) => {
  const { add, tag, plans } = setUp(t);
  await add(app, "amd", ["layer"]);
  await add(app, "index", ["amd"], "manifest");
  await tag(app, "1", "index");
  for (const subject of [
    { scope: app, tag: "1" as Tag, digest: undefined },
    { scope: app, tag: undefined, digest: named("index") },
  ])
    t.equal((await plans.used(subject, [named("layer")])).size, 0);
});

t.test("what another node uses stays, with all it names", async (t) => {
  const { add, tag, plans } = setUp(t);
  await add(app, "amd", ["amd layer"]);
  await add(app, "index", ["amd"], "manifest");
  await tag(app, "1", "index");
  const subject = { scope: app, tag: "1" as Tag, digest: undefined };
  const plan = await plans.without(await plans.plan(subject), new Map([[named("amd"), "b"]]));
  t.same(
    plan.goes.map(({ digest }) => names.get(digest)),
    ["index"],
  );
  t.match(
    plan.stays.map(({ digest, user }) => [names.get(digest), user]),
    [
      ["amd", { by: "node", name: "b" }],
      ["amd layer", { by: "node", name: "b" }],
    ],
  );
  const digests = ["index", "amd", "amd layer"].map(named);
  t.equal((await plans.used(subject, digests)).size, 0, "nothing here uses it besides");
  await tag(app, "2", "amd");
  t.same([...(await plans.used(subject, digests)).keys()], digests.slice(1));
});
