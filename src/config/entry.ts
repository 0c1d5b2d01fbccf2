// One setting as it was found, before its text is understood.
import { formatPosition, type Position, type Problem } from "./problem.ts";
import type { SettingKey } from "./settings.ts";

/** Text of an item of tags.rules; what is missing is left out. */
export interface RuleInput {
  readonly match?: string;
  readonly ttl?: string;
}

export interface Entry {
  readonly input: string | readonly RuleInput[];
  /** How the user wrote the key. */
  readonly label: string;
  /** Where the value of a label (`tags.rules[0].ttl`) stands in the file; undefined for the environment. */
  readonly locate?: (label: string) => Position | undefined;
}

export type Entries = ReadonlyMap<SettingKey, Entry>;

/** What one source has set, and what was wrong with it beyond single values. */
export interface Source {
  readonly entries: Entries;
  readonly problems: readonly Problem[];
}

/** Where a value came from: `ENTREPOT_LISTEN` or `mirror.yaml:3:9`. */
export function originOf(entry: Entry): string {
  const position = entry.locate?.(entry.label);
  return position === undefined ? entry.label : formatPosition(position);
}
