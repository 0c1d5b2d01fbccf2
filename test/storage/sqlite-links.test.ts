import t from "tap";
import type { Repository } from "../../src/oci/name.ts";
import { openIndex } from "../../src/storage/sqlite-index.ts";
import { digestOf } from "../fixtures/blob-store-suite.ts";
import { linkStoreSuite, ownLinksSuite } from "../fixtures/link-store-suite.ts";

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
    const app = "team/app" as Repository;
    const digest = digestOf(Buffer.from("a"));
    const shared = openIndex({ directory, clock: Date.now, proofs: "shared" });
    await shared.links.add("hub", app, [{ digest, size: 1, named: true }]);
    t.equal(await shared.links.has("hub", app, digest), true);
    t.equal(await shared.links.has("other", app, digest), false, "where nobody names it, it is not");
    shared.close();
    const own = openIndex({ directory, clock: Date.now });
    t.teardown(() => own.close());
    t.equal(await own.links.has("hub", app, digest), false);
  },
);

t.test("repositories of a digest, as many as asked for", async (t) => {
  const index = openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  const [digest, other] = [digestOf(Buffer.from("a")), digestOf(Buffer.from("b"))];
  t.strictSame(index.links.repositoriesOf(digest, 10), []);
  for (const repository of ["team/a", "team/b", "team/c"] as Repository[])
    await index.links.add("hub", repository, [{ digest, size: 1 }]);
  await index.links.add("other", "team/a" as Repository, [{ digest: other, size: 1 }]);
  t.strictSame(
    index.links
      .repositoriesOf(digest, 10)
      .map(({ upstream, repository }) => `${upstream}/${repository}`)
      .sort(),
    ["hub/team/a", "hub/team/b", "hub/team/c"],
  );
  t.equal(index.links.repositoriesOf(digest, 2).length, 2);
});
