// The document of /savings.json, which the page and the command read. Stable, as that of /stats.json is.

export interface Saved {
  /** See SavingsSums (ports/records.ts). */
  readonly requests: number;
  readonly roundTripsSaved: number;
  readonly sentBytes: number;
  readonly fetchedBytes: number;
  /** Sent without being fetched. Below 0 where more was fetched than clients have taken. */
  readonly savedBytes: number;
  /** Null where no price is known, to a millionth. */
  readonly moneySaved: number | null;
}

export interface TeamSavings extends Saved {
  readonly team: string;
}

export interface RowSavings extends TeamSavings {
  readonly month: string;
  readonly upstream: string;
  readonly pricePerGB: number | null;
}

export interface SavingsDocument {
  readonly schema: 1;
  /** As 2026-11, of UTC, or `all`. */
  readonly month: string;
  /** Of all money in it; null when the configuration names none. */
  readonly currency: string | null;
  readonly total: Saved;
  /** Those that have saved most first. */
  readonly teams: readonly TeamSavings[];
  /** In order of month, team and upstream. */
  readonly rows: readonly RowSavings[];
}
