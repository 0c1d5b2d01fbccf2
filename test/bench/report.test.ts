// From samples to rows and verdicts.
import t from "tap";
import { rowsOf } from "./report.ts";
import { type Measure, ours, type Sample, type Scenario } from "./scenario.ts";
import { median, percentile } from "./statistics.ts";
import { markdownOf } from "./table.ts";

const old = "Distribution 2.8.2";
const recent = "Distribution 3.1.1";

function scenarioWith(...measures: readonly Measure[]): Scenario {
  return { name: "some", title: "Some", measures, run: async () => [] };
}

function samples(measure: string, values: Readonly<Record<string, number>>): readonly Sample[] {
  return Object.entries(values).map(([peer, value]) => ({ measure, peer, value }));
}

t.test("a row has medians, spreads, and ratios of the same round", async (t) => {
  const [row] = rowsOf(scenarioWith({ id: "rate", title: "rate", unit: "requests/s" }), [
    samples("rate", { [ours]: 30, [old]: 10 }),
    samples("rate", { [ours]: 10, [old]: 20 }),
    samples("rate", { [ours]: 20, [old]: 5 }),
  ]);
  t.match(row?.values[ours], { median: 20, min: 10, max: 30, rounds: [30, 10, 20] });
  t.match(row?.ratios[old], { median: 3, min: 0.5, max: 4 });
});

t.test("a target against peers of one name must hold against each of them", async (t) => {
  const targets = [
    { against: "Distribution", atLeast: 5 },
    { against: "nginx", atMost: 1 },
    { atLeast: 15_000 },
  ];
  const measure: Measure = { id: "rate", title: "rate", unit: "requests/s", targets };
  const verdicts = (values: Readonly<Record<string, number>>) =>
    rowsOf(scenarioWith(measure), [samples("rate", values)])[0]?.targets;
  t.strictSame(verdicts({ [ours]: 20_000, [old]: 4_000, [recent]: 4_001 }), [
    { text: "≥ 5× Distribution", met: false },
    { text: "≥ 15,000", met: true },
  ]);
  t.strictSame(verdicts({ [ours]: 14_999, [old]: 10, [recent]: 10, nginx: 15_000 }), [
    { text: "≥ 5× Distribution", met: true },
    { text: "≤ 1× nginx", met: true },
    { text: "≥ 15,000", met: false },
  ]);
});

t.test("no ratio to nothing, and no row without ours", async (t) => {
  const scenario = scenarioWith(
    { id: "requests", title: "requests", unit: "requests" },
    { id: "other", title: "other", unit: "ms" },
  );
  const rows = rowsOf(scenario, [
    [...samples("requests", { [ours]: 1, [old]: 0 }), ...samples("other", { [old]: 1 })],
  ]);
  t.strictSame(
    rows.map(({ id, ratios }) => [id, ratios]),
    [["requests", {}]],
  );
});

t.test("the table", async (t) => {
  const measure: Measure = {
    id: "cpu",
    title: "CPU",
    unit: "CPU s/GB",
    targets: [{ against: old, atMost: 0.85 }],
  };
  const rows = rowsOf(scenarioWith(measure), [
    samples("cpu", { [ours]: 0.5, [old]: 0.5 }),
    samples("cpu", { [ours]: 0.4004, [old]: 0.4004 }),
    samples("cpu", { [ours]: 12345.6, [old]: 12345.6 }),
  ]);
  const report = { name: "some", title: "Some", checks: 3, rounds: 3, rows } as const;
  const text = markdownOf({
    quick: false,
    machine: { kernel: "6.1" },
    peers: [ours, old, "nginx"],
    seconds: 1,
    scenarios: [
      { ...report, result: "passed" },
      { ...report, name: "link", rows: [], result: "skipped", reason: "needs root" },
    ],
  });
  const lines = text.split("\n");
  t.ok(lines.includes("| **Some** |  |  |  |  |  |"));
  t.ok(
    lines.includes(
      `| CPU, CPU s/GB | 0.5 (0.4–12,346) | 0.5 (0.4–12,346) | – | 1 × ${old} | ≤ 0.85× ${old}: **missed** |`,
    ),
    text,
  );
  t.match(text, "LINK: SKIPPED", "loudly");
  t.match(text, "needs root");
});

t.test("percentiles by nearest rank, medians between two", async (t) => {
  t.equal(percentile([1, 2, 3, 4], 50), 2);
  t.equal(percentile([1, 2, 3, 4], 99), 4);
  t.equal(percentile([7], 1), 7);
  t.equal(median([4, 1, 3]), 3);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.ok(Number.isNaN(median([])));
});
