// `entrepot savings`: what a running mirror has saved in a month, by team: as a table, as CSV or as JSON.
import { money, number, signedSize } from "../ops/page/format.ts";
import { savingsCsv } from "../telemetry/savings/report.ts";
import type { DatacenterSavings, SavingsDocument } from "../telemetry/savings/savings-document.ts";
import { type Context, exitCode } from "./context.ts";
import { answerFrom, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export interface SavingsOptions extends OpsPlaceOptions {
  /** As 2026-11, or `all`; this month of the mirror when left out. */
  readonly month?: string;
  readonly csv?: boolean;
  readonly json?: boolean;
}

/**
 * Prints what the nodes have saved together; gives the exit code: 0 when all of them have told, 1 when one has not, and is left
 * out of the sums, 2 when there is no answer.
 */
export async function savings(options: SavingsOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const query = options.month === undefined ? "" : `?${new URLSearchParams({ month: options.month })}`;
  const document = (await answerFrom(place, `/api/v1/savings${query}`, context)) as
    | DatacenterSavings
    | undefined;
  if (document === undefined) return exitCode.usage;
  if (options.json) context.out(`${JSON.stringify(document)}\n`);
  else context.out(options.csv ? savingsCsv(document) : tableOf(document));
  const { silentNodes } = document;
  if (silentNodes.length === 0) return exitCode.done;
  context.err(`entrepot: without ${silentNodes.join(", ")}: no answer from there\n`);
  return exitCode.failed;
}

function tableOf({ month, currency, total, teams }: SavingsDocument): string {
  if (teams.length === 0) return `nothing was asked for in ${month}\n`;
  const priced = total.moneySaved !== null;
  const line = (name: string, saved: typeof total): string[] => [
    name,
    number(saved.requests),
    number(saved.roundTripsSaved),
    signedSize(saved.sentBytes),
    signedSize(saved.fetchedBytes),
    signedSize(saved.savedBytes),
    ...(priced ? [money(saved.moneySaved, currency)] : []),
  ];
  const head = ["team", "requests", "round trips saved", "sent", "fetched", "saved"];
  const rows = [
    [...head, ...(priced ? ["money saved"] : [])],
    ...teams.map((team) => line(team.team, team)),
    ...(teams.length > 1 ? [line("all", total)] : []),
  ];
  const widths = head.map((_, at) => Math.max(...rows.map((row) => (row[at] ?? "").length)));
  const text = rows.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 11)))
      .join("  ")
      .trimEnd(),
  );
  return `${month} (UTC)\n${text.join("\n")}\n`;
}
