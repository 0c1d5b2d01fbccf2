// Warnings of registries that do not answer as configured: they stop nothing, since registries have outages.
import type { Config } from "../config/config.ts";
import type { Context } from "./context.ts";

/** One line on the standard error for each, when all have been asked. Ends without a word when the signal aborts; never rejects. */
export async function tellWrongUpstreams(
  { upstreams }: Config,
  context: Context,
  signal?: AbortSignal,
): Promise<void> {
  try {
    // Loaded only here, so that what asks nobody does not wait for all of it.
    const ask = context.checkVersions ?? (await import("../app/version-checks.ts")).checkVersions;
    for (const line of await ask(upstreams, signal)) context.err(`entrepot: warning: ${line}\n`);
  } catch (error) {
    if (signal?.aborted) return;
    const message = error instanceof Error ? error.message : String(error);
    context.err(`entrepot: warning: the registries were not asked: ${message}\n`);
  }
}
