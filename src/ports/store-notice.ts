// The notice of a store that failed. Every place that carries on without the store sends one.

import { StoreError } from "./blobs.ts";
import type { Notice, NoticeSink } from "./event.ts";

/** `op` names what was tried, from a closed list (telemetry/metrics/cache-metrics.ts). */
export function noticeOfStoreError(op: string, error: unknown): Notice {
  const code = error instanceof StoreError ? error.code : "io";
  return { kind: "store_error", op, code, message: error instanceof Error ? error.message : String(error) };
}

/** What a store answers; when it fails, undefined and a notice. `op` as above. */
export async function orNotice<Value>(
  op: string,
  notices: NoticeSink,
  ask: () => Promise<Value>,
): Promise<Value | undefined> {
  try {
    return await ask();
  } catch (error) {
    notices(noticeOfStoreError(op, error));
    return undefined;
  }
}
