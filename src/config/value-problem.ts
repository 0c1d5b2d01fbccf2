// From what zod has to say about a value to a problem with its place, showing as much of the value as may be shown.
import type { Entries, Entry } from "./entry.ts";
import { describePath } from "./path-text.ts";
import { type Problem, quote } from "./problem.ts";
import { type SettingKey, settingKeys, settingOf } from "./settings.ts";
import { describeUrl } from "./upstream-url.ts";

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** `entries` are those the issue's value came from. */
export function valueProblem({ path, message }: Issue, entries: Entries): Problem {
  const [key, ...rest] = path;
  const setting = settingKeys.find((each) => each === key);
  const entry = setting === undefined ? undefined : entries.get(setting);
  if (setting === undefined || entry === undefined)
    return { key: String(key), message: `expected ${message}` };
  const label =
    entry.label + rest.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  const parent = label.replace(/(?:\.\w+|\[\d+\])$/, "");
  return {
    key: label,
    position: entry.locate?.(label) ?? entry.locate?.(parent),
    message: `found ${found(setting, entry, rest)}, expected ${message}`,
  };
}

/** The value at fault as far as it may be shown. */
function found(setting: SettingKey, entry: Entry, path: readonly PropertyKey[]): string {
  let value: unknown = entry.input;
  for (const part of path) value = (value as Readonly<Record<PropertyKey, unknown>> | undefined)?.[part];
  if (Array.isArray(value)) return `${value.length} items`;
  if (typeof value !== "string") return "nothing";
  const { partsShown = {}, ...whole } = settingOf(setting);
  const [part] = path.flatMap((each) => partsShown[String(each)] ?? []);
  const shown = part ?? whole.shown;
  if (shown === "hidden") return "a value that is not shown";
  if (shown === "url") return describeUrl(value);
  return shown === "path" ? describePath(value) : quote(value);
}
