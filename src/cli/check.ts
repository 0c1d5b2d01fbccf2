// `entrepot check`: says whether the configuration is right, and prints what it resolves to.

import { renderConfig } from "../config/print.ts";
import { formatProblems, formatWarnings } from "../config/problem.ts";
import { cacheSizeWarning } from "../config/rules.ts";
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
  const disk = cacheSizeWarning(loaded.config.cache);
  if (disk !== undefined) context.err(`entrepot: warning: ${disk}\n`);
  context.out(renderConfig(loaded));
  if (options.offline !== true) await tellWrongUpstreams(loaded.config, context);
  return exitCode.done;
}
