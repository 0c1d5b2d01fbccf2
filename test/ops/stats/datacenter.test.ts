import t from "tap";
import { datacenterSchema } from "../../../src/ops/api/datacenter-schema.ts";
import { Datacenter } from "../../../src/ops/stats/datacenter.ts";
import { nodeSummary } from "../../../src/ops/stats/node-summary.ts";
import type { NodeSummary } from "../../../src/ports/datacenter/nodes.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

function summaryOf(name: string, requests = 0, more: Partial<NodeSummary> = {}): NodeSummary {
  const document = sampleDocument((activity) => {
    for (let i = 0; i < requests; i++)
      activity.onEvent(sampleEvent({ route: "blob", result: i === 0 ? "miss" : "hit", bytesSent: 10 }));
  });
  return { ...nodeSummary(document, undefined), name, ...more };
}

function start(own = summaryOf("b", 2)) {
  const clock = new ManualClock();
  const datacenter = new Datacenter(clock.read, clock.read);
  const document = () => datacenter.document(own);
  const rows = () =>
    document().nodes.map(({ name, state, unreachableSince }) => [name, state, unreachableSince]);
  const hear = (...summaries: NodeSummary[]) =>
    datacenter.heard(summaries.map((summary) => ({ summary, ageMs: 0 })));
  return { clock, datacenter, document, rows, hear };
}

t.test("one node alone is a datacenter", (t) => {
  const alone = start().document();
  t.ok(datacenterSchema.safeParse(alone).success);
  t.match(alone, {
    nodes: [{ name: "b", self: true, state: "up" }],
    totals: { nodes: 1, unreachable: 0, sinceStart: { requests: 2, results: { hit: 1, miss: 1 } } },
  });
  t.end();
});

t.test("sums are those of the nodes that answer; one that is gone stays listed with the time", (t) => {
  const { clock, document, rows, hear } = start();
  const store = { usedBytes: 100, limitBytes: 1000, objects: 7 };
  hear(summaryOf("c", 3, { store }), summaryOf("a", 5, { state: "draining" }));
  t.same(rows(), [
    ["a", "draining", null],
    ["b", "up", null],
    ["c", "up", null],
  ]);
  const all = document();
  t.ok(datacenterSchema.safeParse(all).success);
  t.match(all.totals, {
    nodes: 3,
    unreachable: 0,
    sinceStart: {
      requests: 10,
      results: { hit: 7, miss: 3 },
      reads: 10,
      hits: 7,
      hitRatio: 0.7,
      sentBytes: 100,
    },
    store: { usedBytes: 100, objects: 7 },
  });
  const lastHeard = clock.now;
  clock.advance(15_000);
  hear(summaryOf("a", 6));
  t.match(rows()[2], ["c", "up", null], "a word may be lost");
  clock.advance(1);
  t.same(rows(), [
    ["a", "up", null],
    ["b", "up", null],
    ["c", "unreachable", lastHeard],
  ]);
  t.match(document().totals, {
    nodes: 3,
    unreachable: 1,
    sinceStart: { requests: 8 },
    store: { objects: 0 },
  });
  hear(summaryOf("c"));
  t.match(rows()[2], ["c", "up", null], "it is back");
  t.end();
});

t.test("what was said before this node came is known by its age", (t) => {
  const { clock, datacenter, rows } = start();
  datacenter.heard([{ summary: summaryOf("gone"), ageMs: 60_000 }]);
  const since = clock.now - 60_000;
  t.same(rows()[1], ["gone", "unreachable", since]);
  datacenter.heard([{ summary: summaryOf("gone", 0, { version: "older" }), ageMs: 70_000 }]);
  t.same(rows()[1], ["gone", "unreachable", since], "and older news is none");
  t.end();
});

t.test("a node that is gone is left out after a day; at most 64 others are remembered", (t) => {
  const { clock, rows, hear } = start();
  hear(summaryOf("gone"));
  clock.advance(86_400_000);
  t.equal(rows().length, 2);
  clock.advance(1);
  t.same(rows(), [["b", "up", null]]);
  hear(...Array.from({ length: 100 }, (_, at) => summaryOf(`n${at}`)));
  t.equal(rows().length, 65);
  t.end();
});

t.test("neighbours that are unreachable are known, without an address to ask", (t) => {
  const { clock, datacenter, hear } = start();
  const address = "http://10.0.0.1:5000";
  hear(summaryOf("x", 1, { address }));
  t.same(datacenter.neighbours(), [{ name: "x", address }]);
  clock.advance(15_001);
  t.same(datacenter.neighbours(), [{ name: "x", address: null, lastAddress: address }]);
  clock.advance(86_400_000);
  t.same(datacenter.neighbours(), [], "forgotten after a day");
  t.end();
});

t.test("a wall clock that is set makes nobody unreachable, and nobody alive", (t) => {
  const [clock, steady] = [new ManualClock(), new ManualClock()];
  const datacenter = new Datacenter(clock.read, steady.read);
  const other = () => datacenter.document(summaryOf("b")).nodes[0];
  datacenter.heard([{ summary: summaryOf("a"), ageMs: 0 }]);
  const heardAt = clock.now;
  clock.advance(3_600_000);
  t.match(other(), { name: "a", state: "up", heardAt });
  steady.advance(15_001);
  clock.advance(-7_200_000);
  t.match(other(), { name: "a", state: "unreachable", unreachableSince: heardAt });
  datacenter.heard([{ summary: summaryOf("a"), ageMs: 0 }]);
  t.match(other(), { state: "up", heardAt: clock.now }, "news is news");
  t.end();
});

t.test("two nodes of one name are two rows", (t) => {
  const { document, hear } = start();
  const [one, two] = ["http://10.0.0.1:5000", "http://10.0.0.2:5000"];
  hear(summaryOf("x", 1, { address: one }), summaryOf("x", 1, { address: two }));
  t.same(
    document().nodes.map(({ address }) => address),
    [null, one, two],
  );
  t.end();
});
