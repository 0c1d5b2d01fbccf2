// What /api/v1/history answers: what a tag has named, as the nodes of the datacenter have seen it (tag-stays.ts).
import type { StayEnd } from "../../ports/history/tag-history.ts";

/** A time in which the tag named a digest. Times in milliseconds since the epoch. */
export interface ReportedStay {
  readonly digest: string;
  readonly firstSeenAt: number;
  /** A caller's name, else its address; null: nobody waited for the answer, or it is not known. */
  readonly by: string | null;
  /** Null, as is `ended`: it names it still, as far as is known. */
  readonly endedAt: number | null;
  readonly ended: StayEnd | null;
  /** Names of the nodes that have seen it. */
  readonly nodes: readonly string[];
}

export interface TagReport {
  readonly schema: 1;
  readonly at: number;
  readonly upstream: string;
  readonly repository: string;
  readonly tag: string;
  /** The first one first; the last 100 that each node has seen. */
  readonly stays: readonly ReportedStay[];
  /** Names of nodes that have not said what they have seen. */
  readonly silentNodes: readonly string[];
}
