import { DatabaseSync } from "node:sqlite";
import t from "tap";
import { graphQueries } from "../../../src/storage/index/image-graph.ts";
import { migrate } from "../../../src/storage/index/schema.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { imageGraphSuite } from "../../fixtures/image-graph-suite.ts";

t.test("the suite of every ImageGraph", (t) =>
  imageGraphSuite(t, async (t) => {
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    t.teardown(() => index.close());
    return index;
  }),
);

t.test("every query finds its rows by an index, in the order of one", async (t) => {
  const db = new DatabaseSync(":memory:");
  t.teardown(() => db.close());
  migrate(db, 0);
  for (const [name, sql] of Object.entries(graphQueries)) {
    const plan = db
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map(({ detail }) => String(detail));
    const slow = plan.filter((step) => /SCAN (?!state)|TEMP B-TREE|AUTOMATIC/.test(step));
    t.same(slow, [], name);
  }
});

t.test("a layer that more manifests name than are looked at counts as named by a tag", async (t) => {
  const directory = t.testdir();
  const index = openIndex({ directory, clock: Date.now });
  t.teardown(() => index.close());
  const layer = digestOf(Buffer.from("layer"));
  const add = (from: number, to: number): void =>
    index.transaction(() => {
      for (let at = from; at < to; at++) {
        const manifest = digestOf(Buffer.from(`manifest ${at}`));
        index.blobs.add(manifest, 1, "application/vnd.oci.image.manifest.v1+json", 1);
        index.blobs.setChildren(manifest, [{ digest: layer, size: 1 }]);
      }
    });
  add(0, 999);
  t.equal(index.graph.tagged(layer), false);
  add(999, 1_500);
  t.equal(index.graph.tagged(layer), true);
  const users = index.graph.users(layer, 2_000);
  t.same([users.manifests.length, users.truncated], [1_000, true]);
});
