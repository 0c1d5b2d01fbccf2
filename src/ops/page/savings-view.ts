// What the mirror has saved this month, by team.
import type { StatsDocument } from "../stats/stats-document.ts";
import { money, number, signedSize, size } from "./format.ts";
import { h, type PageNode } from "./html.ts";
import { section, table } from "./parts.ts";

const right = { number: true } as const;

export function savingsView({ savings }: StatsDocument): PageNode {
  const { month, currency, teams, total, more } = savings;
  const priced = total.moneySaved !== null;
  const cells = (name: string, saved: typeof total) => [
    name,
    number(saved.requests),
    number(saved.roundTripsSaved),
    size(saved.sentBytes),
    size(saved.fetchedBytes),
    h("b", {}, signedSize(saved.savedBytes)),
    ...(priced ? [money(saved.moneySaved, currency)] : []),
  ];
  const columns = [
    { name: "Team" },
    { name: "Requests", ...right },
    { name: "Without asking upstream", ...right },
    { name: "Sent", ...right },
    { name: "Fetched", ...right },
    { name: "Saved", ...right },
    ...(priced ? [{ name: "Money saved", ...right }] : []),
  ];
  const rows = teams.map((team) => cells(team.team, team));
  if (teams.length + more > 1) rows.push(cells("all", total));
  return section(
    "savings",
    `Saved in ${month} (UTC)`,
    table("Savings by team", columns, rows, "Nothing was asked for yet this month."),
    more > 0 && h("p", { class: "note" }, `${number(more)} more: entrepot savings`),
  );
}
