// The ledger for people and programs: what was saved, in bytes and in money, as a document and as CSV (RFC 4180).
import { maxSavingsRows, type NodeSavings, type SavingsRow } from "../../ports/datacenter/savings.ts";
import { otherRow } from "../../ports/records.ts";
import type { DatacenterSavings, RowSavings, Saved, SavingsDocument } from "./savings-document.ts";

/** Bytes a price is for. */
const gigabyte = 1e9;

export const monthExpected = "month: expected one like 2026-11, or all";

/** Whether it is a month as the ledger has them, or `all`. */
export function isMonth(text: string): boolean {
  return text === "all" || /^\d{4}-(?:0[1-9]|1[0-2])$/.test(text);
}

export function savingsDocument(
  month: string,
  ledger: readonly SavingsRow[],
  currency: string | undefined,
): SavingsDocument {
  return documentOf(month, ledger.map(savingsOf), currency ?? null);
}

function documentOf(month: string, rows: readonly RowSavings[], currency: string | null): SavingsDocument {
  const names = [...new Set(rows.map(({ team }) => team))];
  const teams = names.map((team) => ({ team, ...totalOf(rows.filter((row) => row.team === team)) }));
  teams.sort((a, b) => b.savedBytes - a.savedBytes || (a.team < b.team ? -1 : 1));
  return { schema: 1, month, currency, total: totalOf(rows), teams, rows };
}

/** A ledger as it is told to other nodes. `limit` is another one only in tests. */
export function nodeSavings(
  ledger: readonly SavingsRow[],
  currency: string | undefined,
  limit: number = maxSavingsRows,
): NodeSavings {
  if (ledger.length <= limit) return { currency: currency ?? null, rows: ledger };
  const months = new Set(ledger.map(({ month }) => month));
  const most = [...ledger].sort((a, b) => b.sentBytes - a.sentBytes).slice(0, limit - months.size);
  const told = new Set(most);
  const left = ledger.filter((row) => !told.has(row));
  const others = [...months].flatMap((month): SavingsRow[] => {
    const rows = left.filter((row) => row.month === month);
    if (rows.length === 0) return [];
    const { requests, roundTripsSaved, sentBytes, fetchedBytes } = totalOf(rows.map(savingsOf));
    const other = { team: otherRow, upstream: otherRow, pricePerGB: undefined };
    return [{ month, ...other, requests, roundTripsSaved, sentBytes, fetchedBytes }];
  });
  return { currency: currency ?? null, rows: [...most, ...others] };
}

/**
 * The ledgers of several nodes as one; the first is that of the node that answers. Money in another currency than its is left
 * out. A price that is not the same at all of them is null in a row, and counts for each node's own bytes.
 */
export function datacenterSavings(
  month: string,
  at: number,
  ledgers: readonly { readonly name: string; readonly savings: NodeSavings }[],
  silentNodes: readonly string[],
): DatacenterSavings {
  const currency = ledgers[0]?.savings.currency ?? null;
  const sums = new Map<string, RowSavings>();
  const nodes = ledgers.map(({ name, savings }, index) => {
    const isComparable = savings.currency === currency;
    const rows = savings.rows.map((row) => savingsOf(isComparable ? row : { ...row, pricePerGB: undefined }));
    for (const row of rows) {
      const key = `${row.month} ${row.team} ${row.upstream}`;
      const before = sums.get(key);
      sums.set(key, before === undefined ? row : rowOf(before, row));
    }
    return { name, self: index === 0, ...totalOf(rows) };
  });
  const rows = [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
  nodes.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { ...documentOf(month, rows, currency), at, nodes, silentNodes };
}

function rowOf(before: RowSavings, row: RowSavings): RowSavings {
  const pricePerGB = before.pricePerGB === row.pricePerGB ? row.pricePerGB : null;
  return { ...row, ...totalOf([before, row]), pricePerGB };
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
