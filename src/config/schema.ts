// The zod schemas of the settings, made from their table, and the values they give.
import { z } from "zod";
import type { Entries } from "./entry.ts";
import {
  type CommonKey,
  commonKeys,
  type SettingKey,
  settingOf,
  type settings,
  type UpstreamKey,
  upstreamKeys,
} from "./settings.ts";

type Table = typeof settings;

/** Settings, understood; undefined where nothing was set and there is no default. */
export type Values<K extends SettingKey> = {
  readonly [P in K]: z.output<Table[P]["type"]> | (Table[P]["default"] extends string ? never : undefined);
};

export type Understood<K extends SettingKey> =
  | { readonly values: Values<K> }
  | { readonly issues: readonly z.core.$ZodIssue[] };

function parserOf<K extends SettingKey>(keys: readonly K[]): (entries: Entries) => Understood<K> {
  const schema = z.object(
    Object.fromEntries(
      keys.map((key) => {
        const { type, default: value } = settingOf(key);
        return [key, value === undefined ? type.optional() : type.prefault(value)];
      }),
    ),
  );
  return (entries) => {
    const result = schema.safeParse(Object.fromEntries([...entries].map(([key, { input }]) => [key, input])));
    return result.success ? { values: result.data as Values<K> } : { issues: result.error.issues };
  };
}

/** Understands what was set; all issues at once, each with the key first in its path. Other keys are left alone. */
export const parseCommon = parserOf<CommonKey>(commonKeys);
/** The same for one upstream. */
export const parseUpstream = parserOf<UpstreamKey>(upstreamKeys);
