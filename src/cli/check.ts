// `entrepot check`: says whether the configuration is right, and what it comes to.
import { formatProblems, formatWarnings } from "../config/problem.ts";
import { renderConfig } from "../config/render.ts";
import { cacheSizeWarning } from "../config/warnings.ts";
import type { Context } from "./context.ts";
import { exitCode } from "./exit-code.ts";
import { loadFrom } from "./load-from.ts";

/** Prints the resolved configuration as YAML without its secrets, or every problem; gives the exit code. */
export function check(options: { readonly config?: string }, context: Context): number {
  const loaded = loadFrom(options.config, context);
  if (!loaded.ok) {
    context.err(formatProblems(loaded.problems));
    return exitCode.usage;
  }
  context.err(formatWarnings(loaded.warnings));
  const disk = cacheSizeWarning(loaded.config.cache);
  if (disk !== undefined) context.err(`entrepot: warning: ${disk}\n`);
  context.out(renderConfig(loaded.config, loaded.origins));
  return exitCode.done;
}
