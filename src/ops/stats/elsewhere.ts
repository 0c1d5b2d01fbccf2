// Where blobs are that are not on the disk, for one answer of the ops listener: S3 may be slow or gone, and answers do not wait
// for it long.
import type { Digest } from "../../oci/digest.ts";
import type { Clock } from "../../ports/clock.ts";
import type { SharedBlobs } from "../../ports/shared.ts";
import { eachAtOnce } from "../../ports/turns.ts";

/**
 * The names of other places that have each, such as `s3`; one that is not among them is not known. Never rejects. It is begun
 * for one answer, and what it may take in time and failures is bounded for all of that answer's questions.
 */
export type Elsewhere = (digests: readonly Digest[]) => Promise<ReadonlyMap<Digest, readonly string[]>>;

/** Blobs asked for at once. */
const atOnce = 8;
/** Questions of one answer that fail before no more are asked, besides those under way. */
const maxFailures = 5;

/**
 * In S3. `store`: left out, S3 is not used, so that it has nothing. `patience`: milliseconds by the steady `clock` after
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
