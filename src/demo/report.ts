// What the demo prints about its pulls: one line each, and a table at the end.
import { size } from "../ops/page/format.ts";
import type { LinkCounts } from "./upstream.ts";

/** One step of the demo: measured, not computed from what ought to happen. */
export interface Measured {
  readonly name: string;
  readonly clients: number;
  readonly ms: number;
  /** Body bytes all clients received together. */
  readonly received: number;
  /** What crossed the long link meanwhile. */
  readonly link: LinkCounts;
}

/** The share of the received bytes that did not cross the link, 0 to 1. */
export function hitRatio(received: number, overLink: number): number {
  return received === 0 ? 0 : Math.max(0, 1 - overLink / received);
}

/** Rounded down, so that "100 %" means all of it. */
export function formatRatio(ratio: number): string {
  return `${Math.floor(ratio * 1000) / 10} %`;
}

export function formatTime(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** The table, line by line, closed by a row of totals. The hit ratio is that of bytes. */
export function formatTable(steps: readonly Measured[]): string[] {
  const head = [
    "pull",
    "clients",
    "time",
    "to clients",
    "over the link",
    "requests over it",
    "byte hit ratio",
  ];
  const row = (name: string, clients: string, time: string, received: number, link: LinkCounts): string[] => [
    name,
    clients,
    time,
    size(received),
    size(link.bytes),
    String(link.requests),
    formatRatio(hitRatio(received, link.bytes)),
  ];
  const rows = steps.map((step) =>
    row(step.name, String(step.clients), formatTime(step.ms), step.received, step.link),
  );
  const sum = totals(steps);
  return alignColumns([head, ...rows, row("all together", "", "", sum.received, sum.link)]);
}

/** Sums over all steps. */
export function totals(steps: readonly Measured[]): { received: number; link: LinkCounts } {
  const add = (value: (step: Measured) => number): number =>
    steps.reduce((sum, step) => sum + value(step), 0);
  return {
    received: add((step) => step.received),
    link: { requests: add((step) => step.link.requests), bytes: add((step) => step.link.bytes) },
  };
}

/** The first column to the left, the others to the right; a rule below the heading and above the last row. */
function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
  const rule = "-".repeat(lines[0]?.length ?? 0);
  return [...lines.slice(0, 1), rule, ...lines.slice(1, -1), rule, ...lines.slice(-1)];
}
