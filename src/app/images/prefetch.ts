// What fetches the next layers of an image while a client pulls it, over the policy.
import type { DeniedDigests } from "../../cache/denied-digests.ts";
import { Prefetch } from "../../cache/prefetch/prefetch.ts";
import type { Config } from "../../config/config.ts";
import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { ImageGraph } from "../../ports/records.ts";
import type { Policy } from "../policy.ts";

export interface CreatePrefetchOptions {
  /** That of now. */
  readonly config: () => Config;
  readonly policy: Pick<Policy, "blobs" | "local" | "eviction">;
  readonly graph: Pick<ImageGraph, "parentsIn">;
  readonly denied: Pick<DeniedDigests, "denies">;
  readonly notices: NoticeSink;
  readonly steady: Clock;
}

/** Undefined where another node may be asked for the next layer, and would fetch it once more. */
export function createPrefetch(options: CreatePrefetchOptions): Prefetch | undefined {
  const { config, policy, graph, denied, notices, steady } = options;
  const { redis, s3, nodes, node } = config();
  const isAlone = redis === undefined && s3 === undefined && nodes.length === 0;
  // One node fetches a blob at a time, and the others read what it has fetched from S3 or from itself.
  const areRead = redis !== undefined && (s3 !== undefined || node.address !== undefined);
  if (!isAlone && !areRead) return undefined;
  return new Prefetch({
    blobs: policy.blobs,
    local: policy.local,
    graph,
    denies: (...asked) => denied.denies(...asked),
    mayGrow: (bytes) => policy.eviction.mayGrow(bytes),
    bytesAhead: () => config().cache.prefetch,
    cacheSize: () => config().cache.maxSize,
    notices,
    clock: steady,
  });
}
