// Finding the configuration: --config, else ENTREPOT_CONFIG, else the environment alone.
import { type LoadResult, loadConfig } from "../config/load.ts";
import { quote } from "../config/problem.ts";
import { readText } from "../config/read-text.ts";
import { configVariable } from "../config/settings.ts";
import type { Context } from "./context.ts";

/** `option` is what --config says. A file that cannot be read is the only problem reported. */
export function loadFrom(option: string | undefined, { env, readFile }: Context): LoadResult {
  const variable = env[configVariable.env];
  const path = option ?? (variable === "" ? undefined : variable);
  if (path === undefined) return loadConfig({ env, readFile });
  const file = readText(path, readFile);
  if ("text" in file) return loadConfig({ file: { path, text: file.text }, env, readFile });
  const key = option === undefined ? configVariable.env : "--config";
  return {
    ok: false,
    problems: [{ key, message: `found ${quote(path)}, which cannot be read (${file.reason})` }],
  };
}
