// `entrepot check`: says whether the configuration is right, and prints what it resolves to.

import { renderConfig } from "../config/print.ts";
import { formatProblems, formatWarnings } from "../config/problem.ts";
import { cacheSizeWarning, nodeNameWarning } from "../config/rules.ts";
import { type Context, exitCode, loadFrom } from "./context.ts";
import { tellWrongUpstreams } from "./wrong-upstreams.ts";

export interface CheckOptions {
  readonly config?: string;
  /** Asks no registry. */
  readonly offline?: boolean;
}

/**
 * Prints the resolved configuration as YAML without its secrets, or every problem; gives the exit code. Warns of registries
 * that do not answer as configured, which is no problem of the configuration.
 */
export async function check(options: CheckOptions, context: Context): Promise<number> {
  const loaded = loadFrom(options.config, context);
  if (!loaded.ok) {
    context.err(formatProblems(loaded.problems));
    return exitCode.usage;
  }
  context.err(formatWarnings(loaded.warnings));
  for (const warning of [cacheSizeWarning(loaded.config.cache), nodeNameWarning(loaded.config)])
    if (warning !== undefined) context.err(`entrepot: warning: ${warning}\n`);
  context.out(renderConfig(loaded));
  if (options.offline !== true) await tellWrongUpstreams(loaded.config, context);
  return exitCode.done;
}
