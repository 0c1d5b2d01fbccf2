// What S3 has, for answers of the ops listener: it may be slow or gone, and they do not wait for it long.
import { eachAtOnce } from "../../cache/warm/each-at-once.ts";
import type { Elsewhere } from "../../ops/stats/elsewhere.ts";
import type { Clock } from "../../ports/clock.ts";
import type { SharedBlobs } from "../../ports/shared.ts";

/** Blobs asked for at once. */
const atOnce = 8;
/** Questions of one answer that fail before no more are asked, besides those under way. */
const maxFailures = 5;

/**
 * For one answer. `store`: left out, S3 is not used, so that it has nothing. `patience`: milliseconds by the steady `clock` after
 * which no question is begun; each takes a second at most. An S3 that fails says so itself.
 */
export function inS3(
  store: Pick<SharedBlobs, "head" | "source"> | undefined,
  patience: number,
  clock: Clock,
): Elsewhere {
  const until = clock() + patience;
  let failures = 0;
  return async (digests) => {
    if (store === undefined) return new Map(digests.map((digest) => [digest, []]));
    const places = new Map<(typeof digests)[number], readonly string[]>();
    await eachAtOnce(digests, atOnce, async (digest) => {
      if (failures >= maxFailures || clock() >= until) return;
      try {
        const head = await store.head(digest);
        places.set(digest, head === undefined ? [] : [store.source]);
      } catch {
        failures++;
      }
    });
    return places;
  };
}
