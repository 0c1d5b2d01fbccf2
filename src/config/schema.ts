// The zod schema of all settings, made from their table, and the values it gives.
import { z } from "zod";
import { type SettingKey, settingKeys, settingOf, type settings } from "./settings.ts";

type Table = typeof settings;

/** Every setting, understood; undefined where nothing was set and there is no default. */
export type Values = {
  readonly [K in SettingKey]:
    | z.output<Table[K]["type"]>
    | (Table[K]["default"] extends string ? never : undefined);
};

const schema = z.object(
  Object.fromEntries(
    settingKeys.map((key) => {
      const { type, default: value } = settingOf(key);
      return [key, value === undefined ? type.optional() : type.prefault(value)];
    }),
  ),
);

/** Understands the inputs by setting key; all issues at once, each with the key first in its path. */
export function parseSettings(
  inputs: Readonly<Record<string, unknown>>,
): { readonly values: Values } | { readonly issues: readonly z.core.$ZodIssue[] } {
  const result = schema.safeParse(inputs);
  return result.success ? { values: result.data as Values } : { issues: result.error.issues };
}
