// What is told of a mirror of another datacenter: to people by the page, to programs by the API.
import type { SiblingResult } from "../event.ts";

/**
 * Whether a sibling is asked: `asked`; or why it is not. `away`: it does not answer; `resting`: it has just failed; `slow`: its
 * bytes come slower than those of every upstream it is asked for; `distrusted`: it has sent wrong bytes.
 */
export const siblingStates = ["asked", "away", "resting", "slow", "distrusted"] as const;
export type SiblingState = (typeof siblingStates)[number];

/** What this node has seen of a sibling since its start. */
export interface SiblingVerdict {
  readonly name: string;
  readonly state: SiblingState;
  /** Undefined: not measured within ten minutes. */
  readonly bytesPerSecond: number | undefined;
  readonly results: Readonly<Record<SiblingResult, number>>;
  readonly lastHitAt: number | undefined;
  /** In the clock's milliseconds. */
  readonly lastError: { readonly at: number; readonly message: string } | undefined;
}
