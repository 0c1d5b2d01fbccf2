import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { partsOfAll } from "../../../src/ops/stats/explain-nodes.ts";
import type { ExplainedPart } from "../../../src/ops/stats/stats-document.ts";
import type { Neighbours, OtherNodes } from "../../../src/ports/datacenter/nodes.ts";
import { digestOf } from "../../fixtures/images.ts";
import { fullExplanation } from "../../fixtures/stats-samples.ts";

const digests = ["1", "2", "3"].map((text) => digestOf(Buffer.from(text)));
const [sample] = (fullExplanation("x") as { parts: readonly ExplainedPart[] }).parts;
const parts = digests.map((digest, at): ExplainedPart => {
  const state = at === 0 ? "here" : "missing";
  return { ...(sample as ExplainedPart), digest, state, where: at === 0 ? ["disk"] : [] };
});

function neighbours(held: Record<string, readonly Digest[]>, addresses: Record<string, string | null>) {
  const asked: [string, number][] = [];
  const holding = async (address: string, of: readonly Digest[]) => {
    asked.push([address, of.length]);
    const there = held[address];
    if (there === undefined) throw new Error("no answer");
    return new Set(there);
  };
  const list = () => Object.entries(addresses).map(([name, address]) => ({ name, address }));
  const all: Neighbours = { nodes: { holding } as unknown as OtherNodes, list };
  return { all, asked };
}

t.test("each node is asked once, and what any has is here", async (t) => {
  const [one, two] = digests as [Digest, Digest];
  const { all, asked } = neighbours(
    { "http://b": [one, two], "http://c": [two] },
    { c: "http://c", b: "http://b" },
  );
  const { parts: known, silent } = await partsOfAll(parts, all);
  t.same(
    known.map(({ state, where }) => [state, where]),
    [
      ["here", ["disk", "node b"]],
      ["here", ["node b", "node c"]],
      ["missing", []],
    ],
  );
  t.same(silent, []);
  t.same(asked.sort(), [
    ["http://b", 3],
    ["http://c", 3],
  ]);
});

t.test("who does not answer, or cannot be asked, is named", async (t) => {
  const { all } = neighbours({ "http://b": [] }, { d: null, c: "http://c", b: "http://b" });
  t.same((await partsOfAll(parts, all)).silent, ["c", "d"]);
  t.same(
    (await partsOfAll(parts, { ...all, nodes: undefined })).silent,
    ["b", "c", "d"],
    "nodes sign nothing",
  );
  t.same(await partsOfAll(parts, undefined), { parts, silent: [] });
  t.same(await partsOfAll([], all), { parts: [], silent: [] }, "nothing to ask about");
});
