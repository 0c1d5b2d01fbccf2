// What a scenario of the bench is: it runs once a round, over all peers in turn, and gives numbers to compare.
import type { Round } from "./round.ts";

/** The name every table and target compares with the others. */
export const ours = "Entrepôt";

export type Unit =
  | "requests/s"
  | "GB/s"
  | "CPU s/GB"
  | "CPU µs/request"
  | "ms"
  | "s"
  | "MB"
  | "requests"
  | "×"
  | "points"
  | "%";

/** A bound on our median, or on the ratio of ours to that of each peer whose name begins with `against`. */
export interface Target {
  readonly against?: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** One row of the table. */
export interface Measure {
  /** Unique in its scenario, in kebab case. */
  readonly id: string;
  readonly title: string;
  readonly unit: Unit;
  readonly targets?: readonly Target[];
}

/** One number of one round. */
export interface Sample {
  /** The `id` of a measure. */
  readonly measure: string;
  /** Name of the peer it belongs to. */
  readonly peer: string;
  readonly value: number;
}

/**
 * The numbers a peer has in one round, by the names of their measures, or by what these are made of with `measureOf`. What is
 * undefined was not measured.
 */
export function samplesOf(
  peer: string,
  values: Readonly<Record<string, number | undefined>>,
  measureOf = (name: string): string => name,
): Sample[] {
  return Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [{ measure: measureOf(name), peer, value }],
  );
}

export interface Scenario {
  /** In kebab case, for `--only`. */
  readonly name: string;
  readonly title: string;
  readonly measures: readonly Measure[];
  /** Why this machine cannot run it; undefined when it can. */
  readonly unable?: () => string | undefined;
  /** Programs without which it fails. */
  readonly programs?: readonly string[];
  /** More rounds than this are not run: for one that waits long and varies little. */
  readonly mostRounds?: number;
  /** One round. Rejects when something is wrong with what was answered or counted, never for a time. */
  run(round: Round): Promise<readonly Sample[]>;
}

/** How large a run is. */
export interface Scale {
  /** Small sizes and short times: for counts, not for numbers. */
  readonly quick: boolean;
  /** A file with a recorded trace, for the scenario that replays one. */
  readonly trace?: string | undefined;
}
