// From the rows of a report to a table for each axis.
import t from "tap";
import type { ScenarioReport } from "../report.ts";
import { rowsOf } from "../report.ts";
import { ours, type Scale, type Scenario } from "../scenario.ts";
import { growthClients } from "./clients.ts";
import { growthTables } from "./tables.ts";

const scale: Scale = { quick: false };

function reportOf(scenario: Scenario): ScenarioReport {
  const { name, title, measures } = scenario;
  const samples = measures.map(({ id }, at) => ({ measure: id, peer: ours, value: 1_000 + at }));
  return { name, title, result: "passed", rounds: 1, checks: 1, rows: rowsOf(scenario, [samples]) };
}

t.test("a row for each figure, a column for each point", async (t) => {
  const lines = growthTables([reportOf(growthClients(scale))])
    .trimEnd()
    .split("\n");
  t.strictSame(lines.slice(0, 4), [
    "| Growing: clients at once | 1 | 10 | 100 | 1,000 |",
    "| --- | ---: | ---: | ---: | ---: |",
    "| cached manifest by tag, requests/s | 1,000 | 1,005 | 1,010 | 1,015 |",
    "| the same, CPU µs/request | 1,001 | 1,006 | 1,011 | 1,016 |",
  ]);
  t.equal(lines.length, 7);
});

t.test("other scenarios, and those that failed, have none", async (t) => {
  const report = reportOf(growthClients(scale));
  t.equal(
    growthTables([
      { ...report, name: "herd" },
      { ...report, rows: [] },
    ]),
    "",
  );
});
