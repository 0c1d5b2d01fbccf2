// One setting as it was found, before its text is understood.
import { formatPosition, type Position, type Problem } from "./problem.ts";
import type { SettingKey } from "./settings.ts";

/** Text of an item of tags.rules; what is missing is left out. */
export interface RuleInput {
  readonly match?: string;
  readonly ttl?: string;
}

/** Text of an upstream's next; what is missing is left out. */
export interface NextInput {
  readonly upstream?: string;
  readonly on?: readonly string[];
}

/** Texts by keys of the user's choosing: header names, sources. */
export type MapInput = Readonly<Record<string, string>>;

/** Text of an item of notifications.endpoints; what is missing is left out. */
export interface EndpointInput {
  readonly name?: string;
  readonly url?: string;
  readonly headers?: MapInput;
  readonly headerFiles?: MapInput;
  readonly timeout?: string;
  readonly threshold?: string;
  readonly backoff?: string;
  readonly mediaType?: string;
  readonly ignore?: { readonly actions?: readonly string[]; readonly mediaTypes?: readonly string[] };
  readonly headRequests?: string;
}

export type Input =
  | string
  | readonly string[]
  | readonly RuleInput[]
  | readonly EndpointInput[]
  | NextInput
  | MapInput;

export interface Entry {
  readonly input: Input;
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

/** The settings of one upstream, under the keys of the table: `upstream.url`, whichever upstream it is. */
export interface UpstreamInput {
  /** What the keys begin with in messages: `upstream`, or `upstreams[1]`. */
  readonly label: string;
  /** Where it stands in the list. */
  readonly position: Position | undefined;
  readonly entries: Entries;
}

/** Where a value came from: `ENTREPOT_LISTEN` or `mirror.yaml:3:9`. */
export function originOf(entry: Entry): string {
  const position = entry.locate?.(entry.label);
  return position === undefined ? entry.label : formatPosition(position);
}

/** A problem of a setting as a whole, or of its part `label`. */
export function problemAt(entry: Entry, message: string, label = entry.label): Problem {
  return { key: label, position: entry.locate?.(label) ?? entry.locate?.(entry.label), message };
}

/** The text of a setting without spaces around it; undefined when nothing, or nothing of that form, was set. */
export function textOf(entry: Entry | undefined): string | undefined {
  const text = typeof entry?.input === "string" ? entry.input.trim() : "";
  return text === "" ? undefined : text;
}
