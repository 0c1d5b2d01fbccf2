// What was saved, for the page, the command and /api/v1/savings. Stable, as what /api/v1/stats answers is.

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

/** What the nodes of a datacenter have saved together: the sums are those of all nodes that have told. */
export interface DatacenterSavings extends SavingsDocument {
  readonly at: number;
  /** Those that have told, in order of their names. */
  readonly nodes: readonly (Saved & {
    readonly name: string;
    /** The node that answers. */
    readonly self: boolean;
  })[];
  /** Names of the nodes that did not answer, cannot be asked, or are unreachable. */
  readonly silentNodes: readonly string[];
}
