// `entrepot check`: says whether the configuration is right, and prints what it resolves to.

import type { Loaded } from "../config/load.ts";
import { renderConfig } from "../config/print.ts";
import { formatProblem, formatProblems } from "../config/problem.ts";
import { cacheSizeWarning, nodeNameWarning } from "../config/rules.ts";
import { type Context, exitCode, loadFrom } from "./context.ts";
import { tellWrongUpstreams } from "./wrong-upstreams.ts";

export interface CheckOptions {
  readonly config?: string;
  /** Asks no registry. */
  readonly offline?: boolean;
}

/** What is right and likely not meant, one line each. */
export function doubtsOf({ config, warnings }: Loaded): string[] {
  const ofMachine = [cacheSizeWarning(config.cache), nodeNameWarning(config)];
  return [...warnings.map(formatProblem), ...ofMachine.filter((warning) => warning !== undefined)];
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
  for (const doubt of doubtsOf(loaded)) context.err(`entrepot: warning: ${doubt}\n`);
  context.out(renderConfig(loaded));
  if (options.offline !== true) await tellWrongUpstreams(loaded.config, context);
  return exitCode.done;
}
