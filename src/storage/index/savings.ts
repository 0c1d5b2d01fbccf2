// The ledger of what the mirror has saved, in the index (SavingsStore). It cannot be made again from the store: after the loss
// of the index it has what the index's last copy had.

import type { SavingsRow } from "../../ports/datacenter/savings.ts";
import { otherRow, type SavingsStore, savingsMonths } from "../../ports/records.ts";
import type { Database, Row, Statement } from "./database.ts";

/** Pairs of team and upstream in a month. With the months that are kept, that is the bound of the table: 130,013 rows. */
const maxPairs = 10_000;

const sums = "requests, round_trips, sent, fetched";

export class SqliteSavings implements SavingsStore {
  readonly #database: Database;
  readonly #maxPairs: number;
  readonly #update: Statement;
  readonly #put: Statement;
  readonly #count: Statement;
  readonly #prune: Statement;
  readonly #all: Statement;
  readonly #ofMonth: Statement;

  /** `max`: pairs of team and upstream in a month; another number only in tests. */
  constructor(database: Database, max = maxPairs) {
    this.#database = database;
    this.#maxPairs = max;
    this.#update = database.prepare(
      `UPDATE savings SET requests = requests + ?, round_trips = round_trips + ?, sent = sent + ?, fetched = fetched + ?,
         price = ? WHERE month = ? AND team = ? AND upstream = ?`,
    );
    this.#put = database.prepare(
      `INSERT INTO savings (${sums}, price, month, team, upstream) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#count = database.prepare("SELECT count(*) AS pairs FROM savings WHERE month = ?");
    // By the months there are, not by the clock: one that was set wrong for an hour must not delete a year.
    this.#prune = database.prepare(
      `DELETE FROM savings WHERE month NOT IN (
         SELECT DISTINCT month FROM savings ORDER BY month DESC LIMIT ${savingsMonths})`,
    );
    const select = `SELECT month, team, upstream, ${sums}, price FROM savings`;
    this.#all = database.prepare(`${select} ORDER BY month, team, upstream`);
    this.#ofMonth = database.prepare(`${select} WHERE month = ? ORDER BY team, upstream`);
  }

  add(rows: readonly SavingsRow[]): void {
    if (rows.length === 0) return;
    this.#database.transaction(() => {
      let isNew = false;
      for (const row of rows) isNew = this.#add(row) || isNew;
      if (isNew) this.#prune.run();
    });
  }

  /** Whether there is a row more. */
  #add(row: SavingsRow): boolean {
    const values = [row.requests, row.roundTripsSaved, row.sentBytes, row.fetchedBytes] as const;
    const price = row.pricePerGB ?? null;
    const { month, team, upstream } = row;
    if (this.#update.run(...values, price, month, team, upstream) > 0) return false;
    const isOther = team === otherRow && upstream === otherRow;
    if (!isOther && Number(this.#count.get(month)?.pairs) >= this.#maxPairs)
      return this.#add({ ...row, team: otherRow, upstream: otherRow, pricePerGB: undefined });
    this.#put.run(...values, price, month, team, upstream);
    return true;
  }

  rows(month?: string): readonly SavingsRow[] {
    const rows = month === undefined ? this.#all.all() : this.#ofMonth.all(month);
    return rows.map(savingsOf);
  }
}

function savingsOf({ month, team, upstream, requests, round_trips, sent, fetched, price }: Row): SavingsRow {
  return {
    month: String(month),
    team: String(team),
    upstream: String(upstream),
    requests: Number(requests),
    roundTripsSaved: Number(round_trips),
    sentBytes: Number(sent),
    fetchedBytes: Number(fetched),
    pricePerGB: price === null ? undefined : Number(price),
  };
}
