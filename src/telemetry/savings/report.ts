// The ledger for people and programs: what was saved, in bytes and in money, as a document and as CSV (RFC 4180).
import type { SavingsRow } from "../../ports/records.ts";
import type { RowSavings, Saved, SavingsDocument } from "./savings-document.ts";

/** Bytes a price is for. */
const gigabyte = 1e9;

/** Whether it is a month as the ledger has them, or `all`. */
export function isMonth(text: string): boolean {
  return text === "all" || /^\d{4}-(?:0[1-9]|1[0-2])$/.test(text);
}

export function savingsDocument(
  month: string,
  ledger: readonly SavingsRow[],
  currency: string | undefined,
): SavingsDocument {
  const rows = ledger.map(savingsOf);
  const names = [...new Set(rows.map(({ team }) => team))];
  const teams = names.map((team) => ({ team, ...totalOf(rows.filter((row) => row.team === team)) }));
  teams.sort((a, b) => b.savedBytes - a.savedBytes || (a.team < b.team ? -1 : 1));
  return { schema: 1, month, currency: currency ?? null, total: totalOf(rows), teams, rows };
}

function savingsOf(row: SavingsRow): RowSavings {
  const { month, team, upstream, requests, roundTripsSaved, sentBytes, fetchedBytes, pricePerGB } = row;
  const savedBytes = sentBytes - fetchedBytes;
  const moneySaved = pricePerGB === undefined ? null : rounded((savedBytes / gigabyte) * pricePerGB);
  const sums = { requests, roundTripsSaved, sentBytes, fetchedBytes, savedBytes, moneySaved };
  return { month, team, upstream, pricePerGB: pricePerGB ?? null, ...sums };
}

function totalOf(rows: readonly RowSavings[]): Saved {
  const sum = (of: (row: RowSavings) => number): number => rows.reduce((total, row) => total + of(row), 0);
  const priced = rows.some(({ moneySaved }) => moneySaved !== null);
  return {
    requests: sum(({ requests }) => requests),
    roundTripsSaved: sum(({ roundTripsSaved }) => roundTripsSaved),
    sentBytes: sum(({ sentBytes }) => sentBytes),
    fetchedBytes: sum(({ fetchedBytes }) => fetchedBytes),
    savedBytes: sum(({ savedBytes }) => savedBytes),
    moneySaved: priced ? rounded(sum(({ moneySaved }) => moneySaved ?? 0)) : null,
  };
}

function rounded(money: number): number {
  return Math.round(money * 1e6) / 1e6;
}

const columns = [
  ["month", ({ month }) => month],
  ["team", ({ team }) => team],
  ["upstream", ({ upstream }) => upstream],
  ["requests", ({ requests }) => requests],
  ["round_trips_saved", ({ roundTripsSaved }) => roundTripsSaved],
  ["sent_bytes", ({ sentBytes }) => sentBytes],
  ["fetched_bytes", ({ fetchedBytes }) => fetchedBytes],
  ["saved_bytes", ({ savedBytes }) => savedBytes],
  ["price_per_gb", ({ pricePerGB }) => pricePerGB ?? ""],
  ["money_saved", ({ moneySaved }) => moneySaved ?? ""],
] as const satisfies readonly (readonly [string, (row: RowSavings) => string | number])[];

/** The rows, with a line of names before them. No value has a comma or a quote in it. */
export function savingsCsv({ rows, currency }: SavingsDocument): string {
  const head = [...columns.map(([name]) => name), "currency"];
  const lines = rows.map((row) => [...columns.map(([, of]) => of(row)), currency ?? ""]);
  return [head, ...lines].map((cells) => `${cells.join(",")}\r\n`).join("");
}
