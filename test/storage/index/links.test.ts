import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/name.ts";
import type { Scope } from "../../../src/ports/scope.ts";
import { Layout } from "../../../src/storage/disk/layout.ts";
import { Database } from "../../../src/storage/index/database.ts";
import { SqliteLinks } from "../../../src/storage/index/links.ts";
import { Repositories } from "../../../src/storage/index/repositories.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { linkStoreSuite, ownLinksSuite } from "../../fixtures/link-store-suite.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const app: Scope = { upstream: "hub", repository: "team/app" as Repository };
const other: Scope = { upstream: "hub", repository: "team/other" as Repository };

t.test("the suite of every LinkStore", (t) =>
  linkStoreSuite(t, async (t) => {
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    return index.links;
  }),
);

t.test("the suite of what a node has for itself", (t) =>
  ownLinksSuite(t, async (t) => {
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    return index.links;
  }),
);

t.test(
  "where upstreams are trusted alike, to be named is enough; what was shown is known all the same",
  async (t) => {
    const directory = t.testdir();
    const digest = digestOf(Buffer.from("a"));
    const shared = openIndex({ directory, clock: Date.now, proofs: () => "shared" });
    await shared.links.add(app, [{ digest, size: 1, named: true }]);
    t.equal(await shared.links.has(app, digest), true);
    t.equal(
      await shared.links.has({ ...app, upstream: "other" }, digest),
      false,
      "where nobody names it, it is not",
    );
    shared.close();
    const own = openIndex({ directory, clock: Date.now });
    t.teardown(() => own.close());
    t.equal(await own.links.has(app, digest), false);
  },
);

t.test("repositories of a digest, as many as asked for", async (t) => {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  const [digest, other] = [digestOf(Buffer.from("a")), digestOf(Buffer.from("b"))];
  t.strictSame(index.links.repositoriesOf(digest, 10), []);
  for (const repository of ["team/a", "team/b", "team/c"] as Repository[])
    await index.links.add({ upstream: "hub", repository }, [{ digest, size: 1 }]);
  await index.links.add({ upstream: "other", repository: "team/a" as Repository }, [
    { digest: other, size: 1 },
  ]);
  t.strictSame(
    index.links
      .repositoriesOf(digest, 10)
      .map(({ upstream, repository }) => `${upstream}/${repository}`)
      .sort(),
    ["hub/team/a", "hub/team/b", "hub/team/c"],
  );
  t.equal(index.links.repositoriesOf(digest, 2).length, 2);
});

// ---- ends ---------------------------------------------------------------------------------------------------------

const hour = 3_600_000;
const day = 24 * hour;

function named(name: string): Digest {
  return digestOf(Buffer.from(name));
}

/** An index that agrees with its store, and what has ended in it. */
function openAged(t: Test) {
  const clock = new ManualClock();
  // Registered before the directory, whose own removal would otherwise come first.
  let close = (): void => {};
  t.teardown(() => close());
  const index = openIndex({ directory: t.testdir(), clock: clock.read });
  close = () => index.close();
  index.reconciled();
  const ended: string[] = [];
  index.links.onEnd(({ upstream, repository }, digest) => ended.push(`${upstream}/${repository} ${digest}`));
  const link = (name: string, size?: number, scope = app): Promise<void> =>
    index.links.add(scope, [{ digest: named(name), size }]);
  const has = (name: string, scope = app): Promise<boolean> => index.links.has(scope, named(name));
  return { clock, index, ended, link, has };
}

t.test("what is neither here nor named has no links an hour after they were confirmed", async (t) => {
  const { clock, index, ended, link, has } = openAged(t);
  await link("gone");
  await link("gone", 7, other);
  await link("here");
  index.blobs.add(named("gone"), 7, undefined, 1);
  index.blobs.add(named("here"), 7, undefined, 1);
  clock.advance(day);
  index.sweepLinks(100);
  t.same(ended, [], "both are here");
  index.blobs.remove(named("gone"));
  await link("gone", 7, other);
  index.sweepLinks(100);
  t.same([await has("gone"), await has("gone", other)], [false, true], "one was confirmed just now");
  clock.advance(hour + 1);
  index.sweepLinks(100);
  t.equal(await has("gone", other), false);
  t.same(ended, [`hub/team/app ${named("gone")}`, `hub/team/other ${named("gone")}`]);
  clock.advance(365 * day);
  index.sweepLinks(100);
  t.equal(await has("here"), true, "a link to what is here stays: an outage must find it");
  t.same(index.blobs.repositories("hub", undefined, 10), ["team/app"]);
});

t.test("a layer that a stored manifest names keeps its link without its bytes, for 30 days", async (t) => {
  const { clock, index, link, has } = openAged(t);
  index.blobs.add(named("image"), 1, "application/vnd.oci.image.manifest.v1+json", 1);
  index.blobs.setChildren(named("image"), [{ digest: named("layer"), size: 7 }]);
  await link("image");
  await link("layer");
  clock.advance(30 * day);
  index.sweepLinks(100);
  t.equal(await has("layer"), true);
  clock.advance(1);
  index.sweepLinks(100);
  t.equal(await has("layer"), false);
  t.equal(await has("image"), true);
  t.equal(await index.links.statedSize(app, named("layer")), 7, "what the manifest states is known");

  await link("layer");
  clock.advance(2 * hour);
  index.sweepLinks(100);
  t.equal(await has("layer"), true);
  index.blobs.remove(named("image"));
  index.sweepLinks(100);
  t.same([await has("image"), await has("layer")], [false, false], "both end with the manifest");
});

t.test("a link that is confirmed again has its time again; one of a wrong clock has none", async (t) => {
  const { clock, index, link, has } = openAged(t);
  await link("a");
  clock.advance(11 * 60_000);
  await link("a");
  clock.advance(hour - 1);
  index.sweepLinks(100);
  t.equal(await has("a"), true);
  clock.advance(365 * day);
  await link("b");
  await link("corrected");
  clock.advance(-365 * day);
  await link("corrected");
  index.sweepLinks(100);
  t.same([await has("b"), await has("corrected")], [false, true]);
});

t.test("a sweep looks at so many links and goes on from there, round after round", async (t) => {
  const { clock, index, ended, link } = openAged(t);
  for (let at = 0; at < 10; at++) await link(`blob ${at}`);
  for (let at = 0; at < 10; at++)
    await link("in many", 1, { ...app, repository: `team/${at}` as Repository });
  clock.advance(hour + 1);
  const counts: number[] = [];
  for (let turn = 0; turn < 6; turn++) {
    index.sweepLinks(4);
    counts.push(ended.length);
  }
  t.same(counts, [4, 8, 12, 16, 20, 20]);
  await link("late");
  clock.advance(hour + 1);
  index.sweepLinks(4);
  t.equal(ended.length, 21, "from the beginning again");
});

t.test("nothing is swept while the blob table may be wrong", async (t) => {
  const { clock, index, link, has } = openAged(t);
  await link("a");
  clock.advance(day);
  index.requireReconcile();
  index.sweepLinks(100);
  t.equal(await has("a"), true);
  index.reconciled();
  index.sweepLinks(100);
  t.equal(await has("a"), false);
});

t.test("at the bound those confirmed the longest ago go", async (t) => {
  const clock = new ManualClock();
  const directory = t.testdir();
  const index = openIndex({ directory, clock: clock.read });
  const image = named("image");
  index.blobs.add(image, 1, "application/vnd.oci.image.manifest.v1+json", 1);
  index.blobs.setChildren(image, [{ digest: named("layer"), size: 7 }]);
  index.blobs.add(named("layer"), 7, undefined, 1);
  await index.links.add(app, [{ digest: image, size: 1 }]);
  index.close();

  const database = new Database(new Layout(directory), undefined);
  t.teardown(() => database.close());
  const links = new SqliteLinks(database, new Repositories(database), clock.read, () => "own", { max: 4 });
  const ended: Digest[] = [];
  links.onEnd((_, digest) => ended.push(digest));
  const add = async (...names: string[]): Promise<void> => {
    clock.advance(hour);
    await links.add(
      app,
      names.map((name) => ({ digest: named(name), size: 7 })),
    );
  };
  await add("layer");
  await add("b");
  await add("c");
  t.same(ended, []);
  await add("layer");
  await add("d");
  t.same(
    ended,
    [],
    "the manifest's is the oldest, and has its turn again: by it one knows what may be denied",
  );
  await add("e");
  t.same(ended, [named("b"), named("c")]);
  t.equal(await links.has(app, image), true);
  await add("f");
  t.same(ended.slice(2), [named("layer")], "what is here too: upstream is asked");
  t.equal(await links.has(app, named("layer")), false);

  clock.advance(365 * day);
  await add("g");
  clock.advance(-365 * day);
  await add("h");
  t.ok(ended.includes(named("g")), "one of a clock that was wrong goes first");
});
