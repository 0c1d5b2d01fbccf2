import t from "tap";
import type { Repository } from "../../src/oci/name.ts";
import { type NodeCommands, nodePaths } from "../../src/ports/datacenter/nodes.ts";
import { type Purge, writePurge } from "../../src/ports/purge/purges.ts";
import { AskedPurges } from "../../src/upstream/node-purges.ts";

function purgeOf(random: string): Purge {
  const scope = { upstream: "hub", repository: "team/app" as Repository };
  const at = 1_700_000_000_000;
  return { id: `${at}-${random}`, at, scope, tag: undefined, digest: undefined, parts: [] };
}

const [known, one, two] = ["00000000000a", "00000000000b", "00000000000c"].map(purgeOf) as [
  Purge,
  Purge,
  Purge,
];

/** Nodes that say which purges they have. */
function nodes(
  lists: Readonly<Record<string, readonly Purge[]>>,
): NodeCommands & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async command(address, path, query) {
      const list = lists[address];
      if (list === undefined) throw new Error(`${address} is away`);
      if (path === nodePaths.purges) return { ids: list.map(({ id }) => id) };
      asked.push(`${address} ${query.get("id")}`);
      const purge = list.find(({ id }) => id === query.get("id"));
      return { purge: purge && writePurge(purge, (name) => name) };
    },
  };
}

t.test("what others have and this node has not is asked for once", async (t) => {
  const others = nodes({ a: [known, one], b: [known, two, one] });
  const purges = new AskedPurges({ nodes: others, addresses: ["a", "b", "c"], nameOf: (id) => id });
  const heard = await purges.exchange([known.id]);
  t.same(heard.map(({ id }) => id).sort(), [one.id, two.id]);
  t.ok(others.asked.every((asked) => !asked.includes(known.id)));
});

t.test(
  "what is none, or of an upstream that is not here, is not taken; when nobody answers, it rejects",
  async (t) => {
    const strange: NodeCommands = {
      command: async (_, path) => (path === nodePaths.purges ? { ids: [1, one.id] } : { purge: "{}" }),
    };
    for (const list of [strange, nodes({ a: [] })])
      t.same(await new AskedPurges({ nodes: list, addresses: ["a"], nameOf: (id) => id }).exchange([]), []);
    const foreign = new AskedPurges({
      nodes: nodes({ a: [one] }),
      addresses: ["a"],
      nameOf: () => undefined,
    });
    t.same(await foreign.exchange([]), []);
    await t.rejects(new AskedPurges({ nodes: nodes({}), addresses: ["a"], nameOf: (id) => id }).exchange([]));
    t.same(await new AskedPurges({ nodes: nodes({}), addresses: [], nameOf: (id) => id }).exchange([]), []);
  },
);
