import t from "tap";
import type { BlockCommand } from "../../../src/ports/block/blocks.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf, randomBytesFor } from "../../fixtures/images.ts";

const digest = (name: string) => digestOf(randomBytesFor(name, 8));

t.test("what was blocked is kept as it was last put, and goes when it is removed", async (t) => {
  const directory = t.testdir();
  const open = () => openIndex({ directory, clock: Date.now });
  const bad: BlockCommand = {
    digest: digest("bad"),
    blocked: true,
    reason: "line\nbreaks and 'quotes'",
    at: 5,
    node: "a",
    parts: [digest("part"), digest("other")],
  };
  const good: BlockCommand = { ...bad, digest: digestOf(randomBytesFor("x", 8), "sha512"), at: 4, parts: [] };
  const first = await open();
  first.blocks.put([bad, good]);
  first.blocks.put([{ ...good, blocked: false, at: 6 }]);
  first.close();
  const second = await open();
  t.same(
    second.blocks.all(),
    [bad, { ...good, blocked: false, at: 6 }],
    "in the order in which they were made",
  );
  second.blocks.remove([bad.digest, digest("unknown")]);
  t.same(
    second.blocks.all().map((each) => each.digest),
    [good.digest],
  );
  second.close();
});

t.test("it is told which manifest's parts have become known", async (t) => {
  const index = await openIndex({ directory: t.testdir(), clock: Date.now });
  t.teardown(() => index.close());
  const told: string[] = [];
  index.blobs.onChildren((manifest) => told.push(manifest));
  index.blobs.add(digest("manifest"), 10, "application/json", 1);
  index.blobs.setChildren(digest("manifest"), [{ digest: digest("part"), size: 1 }]);
  t.same(told, [digest("manifest")]);
  t.same(index.graph.parents(digest("part"), 10), [digest("manifest")]);
  index.blobs.remove(digest("manifest"));
  t.same(index.graph.parents(digest("part"), 10), []);
});
