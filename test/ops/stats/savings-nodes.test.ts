import t from "tap";
import { savingsOfAll } from "../../../src/ops/stats/savings-nodes.ts";
import type { OtherNodes } from "../../../src/ports/datacenter/nodes.ts";
import type { NodeSavings } from "../../../src/ports/datacenter/savings.ts";
import { nodeSavings } from "../../../src/telemetry/savings/report.ts";
import { sampleSavings } from "../../fixtures/stats-samples.ts";

function options(others: Readonly<Record<string, NodeSavings | null | undefined>>) {
  const asked: [string, string][] = [];
  const nodes = {
    async savings(address: string, month: string) {
      asked.push([address, month]);
      const savings = others[address];
      if (!savings) throw new Error("no answer");
      return savings;
    },
  } as unknown as OtherNodes;
  const list = () =>
    Object.entries(others).map(([name, said]) => ({ name, address: said === null ? null : name }));
  return {
    asked,
    nodes: {
      name: "a",
      month: () => "2026-11",
      own: () => nodeSavings(sampleSavings, "EUR"),
      neighbours: () => ({ nodes, list }),
      clock: () => 1000,
    },
  };
}

const sent = 5_001_000_000;

t.test("every node is asked for the month that is meant here", async (t) => {
  const others = { c: nodeSavings(sampleSavings.slice(0, 1), "EUR"), b: nodeSavings([], "EUR") };
  const { nodes, asked } = options(others);
  t.match(await savingsOfAll(nodes), {
    at: 1000,
    month: "2026-11",
    total: { sentBytes: sent + 5_000_000_000 },
    nodes: [
      { name: "a", self: true, sentBytes: sent },
      { name: "b", self: false, sentBytes: 0 },
      { name: "c", self: false, sentBytes: 5_000_000_000 },
    ],
    silentNodes: [],
  });
  await savingsOfAll(nodes, "all");
  t.same(asked.sort(), [
    ["b", "2026-11"],
    ["b", "all"],
    ["c", "2026-11"],
    ["c", "all"],
  ]);
});

t.test("who does not answer, or cannot be asked, is named and in no sum", async (t) => {
  const { nodes, asked } = options({ d: undefined, c: null, b: nodeSavings(sampleSavings, "EUR") });
  t.match(await savingsOfAll(nodes), { total: { sentBytes: 2 * sent }, silentNodes: ["c", "d"] });
  t.same(asked.map(([address]) => address).sort(), ["b", "d"], "one without an address is not asked");
  const unsigned = { ...nodes, neighbours: () => ({ ...nodes.neighbours(), nodes: undefined }) };
  t.match(await savingsOfAll(unsigned), { total: { sentBytes: sent }, silentNodes: ["b", "c", "d"] });
});
