// A drill: for some clients every upstream counts as away, for a while. Each node tells the others of the last one it knows
// (NodeSummary), so that all of them take part.

/** Longest drill, in milliseconds. */
export const longestDrill = 3_600_000;
/** Networks of clients of one drill. */
export const maxDrillNetworks = 32;

/** Times in milliseconds since the epoch. */
export interface DrillRecord {
  /** Addresses and CIDR networks; none: no drill is on, and one was ended before its time. */
  readonly clients: readonly string[];
  readonly startedAt: number;
  readonly endsAt: number;
  /** When it was started or ended: of two records the later one counts. */
  readonly changedAt: number;
  /** Name of the node on which that was asked for. */
  readonly node: string;
}

/** What /api/v1/drill answers. */
export interface DrillAnswer {
  /** Null while none is on. */
  readonly drill: DrillRecord | null;
}
