// A failing store is never silent: every place that carries on without it says so through this notice.

import { StoreError } from "./blobs.ts";
import type { Notice, NoticeSink } from "./event.ts";

/** `op` names what was tried, from a closed list of call sites. */
export function noticeOfStoreError(op: string, error: unknown): Notice {
  const code = error instanceof StoreError ? error.code : "io";
  return { kind: "store_error", op, code, message: error instanceof Error ? error.message : String(error) };
}

/** What a store answers; undefined, and a notice, when it fails. `op` as above. */
export async function orTold<Value>(
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
