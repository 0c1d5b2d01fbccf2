// The report as Markdown: one table, a row per measure.
import type { Report, Row, ScenarioReport, Verdict } from "./report.ts";
import type { Spread } from "./statistics.ts";

/** Facts, table, and what was skipped or went wrong. */
export function markdownOf(report: Report): string {
  const facts = Object.entries(report.machine).map(([name, value]) => `${name} ${value}`);
  const most = Math.max(...report.scenarios.map(({ rounds }) => rounds));
  const lines = [
    `Medians of ${most} ${most === 1 ? "round" : "rounds"} (smallest–largest); ratio: Entrepôt's over the other's, of the same round.`,
    `Machine: ${facts.join("; ")}.`,
    ...(report.quick ? ["Quick: small sizes and short times; the counts hold, the numbers do not."] : []),
    "",
    rowText(["measurement", ...report.peers, "ratio", "target"]),
    rowText(["---", ...report.peers.map(() => "---:"), "---", "---"]),
    ...report.scenarios.flatMap((scenario) => sectionOf(scenario, report.peers)),
    "",
    ...report.scenarios.map(outcomeOf),
  ];
  return `${lines.join("\n")}\n`;
}

function sectionOf({ title, rows }: ScenarioReport, peers: readonly string[]): string[] {
  if (rows.length === 0) return [];
  const heading = rowText([`**${title}**`, ...peers.map(() => ""), "", ""]);
  return [heading, ...rows.map((row) => lineOf(row, peers))];
}

function lineOf(row: Row, peers: readonly string[]): string {
  const cells = peers.map((peer) => {
    const value = row.values[peer];
    return value === undefined ? "–" : spreadText(value);
  });
  const ratios = Object.entries(row.ratios).map(([peer, ratio]) => `${spreadText(ratio)} × ${peer}`);
  return rowText([
    `${row.title}, ${row.unit}`,
    ...cells,
    ratios.join("<br>"),
    row.targets.map(verdictText).join("<br>"),
  ]);
}

function verdictText({ text, met }: Verdict): string {
  return met ? `${text}: met` : `${text}: **missed**`;
}

function outcomeOf({ name, result, reason, checks, rounds }: ScenarioReport): string {
  const said = `${name}: ${result}, ${rounds} round(s), ${checks} checks`;
  return result === "passed" ? said : `${said.toUpperCase()}: ${reason}`;
}

/** `12.3 (11.9–12.8)`; the median alone when there was one round or no spread. */
function spreadText({ median, min, max }: Spread): string {
  const [middle, low, high] = [median, min, max].map(numberText);
  return low === high ? `${middle}` : `${middle} (${low}–${high})`;
}

/** Three significant digits, all of those before the point. */
export function numberText(value: number): string {
  const digits = { maximumSignificantDigits: 3 };
  return value >= 1000 ? Math.round(value).toLocaleString("en") : value.toLocaleString("en", digits);
}

/** A row of a table. */
export function rowText(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
