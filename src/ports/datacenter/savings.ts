// What was saved: a row of the ledger, and what a node tells the others of its own.

/** What is counted of the requests of a team at an upstream. Bytes are of bodies. */
export interface SavingsSums {
  /** GET and HEAD of manifests, blobs, and lists of tags and referrers. */
  readonly requests: number;
  /** Of these, those for which upstream was not asked. */
  readonly roundTripsSaved: number;
  /** Sent to clients. */
  readonly sentBytes: number;
  /** Received from upstream, also for nobody. */
  readonly fetchedBytes: number;
}

export interface SavingsRow extends SavingsSums {
  /** Of UTC, as 2026-11. */
  readonly month: string;
  readonly team: string;
  readonly upstream: string;
  /** Price of 10^9 bytes over the link to upstream, as it was last in that month; undefined when it had none. */
  readonly pricePerGB: number | undefined;
}

/** What a node's ledger has. */
export interface NodeSavings {
  /** Of its prices; null: its configuration names none. */
  readonly currency: string | null;
  /** At most `maxSavingsRows`. */
  readonly rows: readonly SavingsRow[];
}

/** Rows that one node tells of; more of a month count together as `otherRow`, without a price. */
export const maxSavingsRows = 4_000;
