// What to tell of the registries that are not there as the configuration says, or refuse our account.
import type { UpstreamConfig } from "../config/config.ts";
import { checkVersion } from "../upstream/version-check.ts";

/**
 * One line for each upstream with which something is wrong, in their order. Asks all of them at once, and each for half a
 * minute at most. Rejects with the signal's reason only.
 */
export async function checkVersions(
  upstreams: readonly UpstreamConfig[],
  signal?: AbortSignal,
): Promise<string[]> {
  const found = await Promise.all(
    upstreams.map((upstream) =>
      checkVersion(upstream, signal).catch((error: unknown) => {
        signal?.throwIfAborted();
        return `upstream ${upstream.name} was not checked: ${error instanceof Error ? error.message : error}`;
      }),
    ),
  );
  return found.filter((each) => each !== undefined);
}
