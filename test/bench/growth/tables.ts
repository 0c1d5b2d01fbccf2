// What the growth scenarios have measured as Markdown: a table for each axis, a column for each point.
import type { ScenarioReport } from "../report.ts";
import { numberText, rowText } from "../table.ts";
import { curveOf, figuresOf } from "./axis.ts";

/** Empty when none was measured. */
export function growthTables(reports: readonly ScenarioReport[]): string {
  return reports
    .filter(({ name, rows }) => name.startsWith("growth-") && rows.length > 0)
    .map(tableOf)
    .join("\n");
}

function tableOf({ title, rows }: ScenarioReport): string {
  const figures = figuresOf(rows);
  const points = curveOf(rows, figures[0]?.id ?? "").map(({ point }) => point.toLocaleString("en"));
  const lines = [
    rowText([title, ...points]),
    rowText(["---", ...points.map(() => "---:")]),
    ...figures.map(({ id, title, unit }) =>
      rowText([`${title}, ${unit}`, ...curveOf(rows, id).map(({ value }) => numberText(value))]),
    ),
  ];
  return `${lines.join("\n")}\n`;
}
