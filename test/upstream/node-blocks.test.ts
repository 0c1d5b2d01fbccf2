import t from "tap";
import { type BlockCommand, blockId, writeBlock } from "../../src/ports/block/blocks.ts";
import { type NodeCommands, nodePaths } from "../../src/ports/datacenter/nodes.ts";
import { AskedBlocks, maxBlocksAsked } from "../../src/upstream/node-blocks.ts";
import { digestOf, randomBytesFor } from "../fixtures/images.ts";

const command = (name: string): BlockCommand => ({
  digest: digestOf(randomBytesFor(name, 8)),
  blocked: true,
  reason: name,
  at: 1,
  node: "a",
  parts: [],
});

function nodesWith(
  known: Readonly<Record<string, readonly BlockCommand[]>>,
  asked: string[] = [],
): NodeCommands {
  return {
    async command(address, path, query) {
      asked.push(`${address} ${path}`);
      const blocks = known[address];
      if (blocks === undefined) throw new Error("away");
      if (path === nodePaths.blocks) return { ids: [...blocks.map(blockId), 7] };
      const ids = (query.get("ids") ?? "").split(",");
      return { blocks: [...blocks.filter((each) => ids.includes(blockId(each))).map(writeBlock), "{}"] };
    },
  };
}

t.test("what others know and this node does not is asked of them, some at once", async (t) => {
  const many = Array.from({ length: maxBlocksAsked + 1 }, (_, at) => command(`${at}`));
  const [known, ...unknown] = many as [BlockCommand, ...BlockCommand[]];
  const asked: string[] = [];
  const blocks = new AskedBlocks({ nodes: nodesWith({ a: many }, asked), addresses: () => ["a", "gone"] });
  const found = await blocks.exchange([blockId(known)]);
  t.same(found.map(blockId).toSorted(), unknown.map(blockId).sort());
  t.equal(asked.filter((each) => each === `a ${nodePaths.block}`).length, 1);
});

t.test("it rejects when nobody can be asked", async (t) => {
  const of = (addresses: readonly string[]) =>
    new AskedBlocks({ nodes: nodesWith({}), addresses: () => addresses }).exchange([]);
  await t.rejects(of(["a", "b"]), { message: "away" });
  await t.rejects(of([]), { message: /no other node is known/ });
});
