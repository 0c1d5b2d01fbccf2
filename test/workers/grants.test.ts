// How long grants are remembered, what makes them forgotten, and their bounds.
import t from "tap";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseRepository, type Repository } from "../../src/oci/name.ts";
import { type Grant, readGrant, writeGrant } from "../../src/ports/grant.ts";
import { Grants } from "../../src/workers/grants.ts";
import { digestOf } from "../fixtures/images.ts";

const repository = (name: string) => parseRepository(name) as Repository;

function grant(changes: Partial<Grant> = {}): Grant {
  return {
    kind: "manifest",
    route: "manifest_tag",
    upstream: "far",
    repository: repository("team/app"),
    reference: "1",
    digest: parseDigest(digestOf(Buffer.from("a manifest"))) as Digest,
    mediaType: "application/vnd.oci.image.index.v1+json",
    size: 10,
    source: "memory",
    headers: {},
    age: 0,
    freshFor: 60_000,
    heads: true,
    ...changes,
  };
}

t.test("what is forgotten: a repository, all of an upstream, everything", (t) => {
  const keys = ["far team/app", "far team/other", "near team/app"];
  const filled = (): Grants => {
    const grants = new Grants();
    for (const key of keys) {
      const [upstream = "", name = ""] = key.split(" ");
      grants.remember(key, grant({ upstream, repository: repository(name) }), undefined, 0, grants.changes);
    }
    return grants;
  };
  for (const [forget, left] of [
    [{ upstream: "far", repository: repository("team/app") }, keys.slice(1)],
    [{ upstream: "far" }, keys.slice(2)],
    [{}, []],
  ] as const) {
    const grants = filled();
    grants.forget(forget);
    t.same(
      keys.filter((key) => grants.get(key, 0) !== undefined),
      left,
    );
    t.equal(grants.size, left.length);
  }
  t.end();
});

t.test("a grant does not outlive what proved its caller", (t) => {
  const grants = new Grants();
  grants.remember("short", grant({ lasts: 500 }), undefined, 1_000, grants.changes);
  grants.remember("over", grant({ lasts: 0 }), undefined, 1_000, grants.changes);
  grants.remember("blob", grant({ kind: "blob", lasts: 500, headers: {} }), undefined, 1_000, grants.changes);
  t.ok(grants.get("short", 1_499));
  t.notOk(grants.get("short", 1_500));
  t.notOk(grants.get("blob", 1_500));
  t.notOk(grants.get("over", 1_000));
  t.equal(readGrant(writeGrant(grant({ lasts: 500 }))).lasts, 500);
  t.end();
});

t.test("a grant is used until it has to be confirmed, ten seconds at most", (t) => {
  const grants = new Grants();
  grants.remember("short", grant({ freshFor: 500 }), undefined, 1_000, grants.changes);
  grants.remember("long", grant({ freshFor: 60_000 }), undefined, 1_000, grants.changes);
  const { freshFor: _, ...endless } = grant();
  grants.remember("endless", endless, undefined, 1_000, grants.changes);
  grants.remember("overdue", grant({ freshFor: 0 }), undefined, 1_000, grants.changes);
  for (const [key, until] of [
    ["short", 1_500],
    ["long", 11_000],
    ["endless", 11_000],
  ] as const) {
    t.ok(grants.get(key, until - 1), key);
    t.notOk(grants.get(key, until), key);
  }
  t.notOk(grants.get("overdue", 1_000));
  t.end();
});

t.test("memory is bounded by bytes, and what has gone leaves no trace in the list of its repository", (t) => {
  const grants = new Grants();
  const body = Buffer.alloc(1024 * 1024);
  for (let i = 0; i < 100; i++) grants.remember(`key ${i}`, grant(), body, 0, grants.changes);
  t.ok(grants.size < 33 && grants.size > 10, `${grants.size} of 1 MiB`);
  t.notOk(grants.get("key 0", 0));
  t.ok(grants.get("key 99", 0));
  grants.forget({ upstream: "far", repository: repository("team/app") });
  t.equal(grants.size, 0);
  t.end();
});

t.test("a grant that was asked for before the last news is not remembered", (t) => {
  const grants = new Grants();
  const repositoryOf = (name: string) => ({ upstream: "far", repository: repository(name) });
  for (const [forget, concerns] of [
    [{}, true],
    [{ upstream: "far" }, true],
    [repositoryOf("team/app"), true],
    [repositoryOf("team/other"), false],
    [{ upstream: "near" }, false],
  ] as const) {
    const asOf = grants.changes;
    grants.forget(forget);
    grants.remember("key", grant(), undefined, 0, asOf);
    t.equal(grants.size, concerns ? 0 : 1, JSON.stringify(forget));
    grants.remember("key", grant(), undefined, 0, grants.changes);
    t.equal(grants.size, 1);
    grants.forget({});
  }
  t.end();
});

t.test("news about more repositories than are remembered counts as news about all", (t) => {
  const grants = new Grants();
  const asOf = grants.changes;
  for (let i = 0; i < 20_001; i++) grants.forget({ upstream: "far", repository: repository(`other/${i}`) });
  grants.remember("key", grant(), undefined, 0, asOf);
  t.equal(grants.size, 0);
  t.end();
});

t.test("a grant is read as it was written, whatever names are in it, and nothing else is", (t) => {
  const written = grant({ headers: { "oci-namespace": "registry.example.com:8443" }, reference: "ü\r\n" });
  t.strictSame(readGrant(writeGrant(written)), written);
  t.match(writeGrant(written), /^[\w-]+$/);
  for (const wrong of [
    "",
    "e30",
    writeGrant(grant({ digest: "sha256:0" as Digest })),
    writeGrant(grant({ size: 0.5 })),
  ])
    t.throws(() => readGrant(wrong));
  t.end();
});
