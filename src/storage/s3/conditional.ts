// "Store this unless it is there": by If-None-Match: * where the server knows it, by looking first where it does not.
import { setTimeout as sleep } from "node:timers/promises";
import { StoreError } from "../../ports/blobs.ts";
import type { S3Answer } from "./bucket.ts";
import type { S3Refusal } from "./failure.ts";

/** Tries when somebody else is writing the same object at this moment (409). */
const conflictTries = 3;
const conflictPause = 200;

/** Servers know it for one and not for the other: Ceph 16 ignores it for `complete`, Swift refuses it for `put`. */
export type ConditionalWrite = "put" | "complete";

/** Refusals that say something of the condition. Old MinIO answered 304 for 412 (minio#19442). */
export function isConditionAnswer({ status, code }: S3Refusal): boolean {
  return [304, 409, 412, 501].includes(status) || code === "NotImplemented";
}

/** What is known of one server; assumed to know the condition until it says that it does not. */
export class ConditionalWrites {
  readonly #unknown = new Set<ConditionalWrite>();

  /** Whether the server has said that it does not know the condition. */
  refused(write: ConditionalWrite): boolean {
    return this.#unknown.has(write);
  }

  /**
   * Writes the object unless it is there; true when it was written now, false when somebody else had. `write` answers
   * with the refusals of `isConditionAnswer`. A server that ignores the condition overwrites with the same bytes.
   */
  async run(
    kind: ConditionalWrite,
    write: (ifNoneMatch: "*" | undefined) => Promise<S3Answer<unknown>>,
    exists: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<boolean> {
    for (let attempt = 0; !this.#unknown.has(kind) && attempt < conflictTries; attempt++) {
      const { refusal } = await write("*");
      if (refusal === undefined) return true;
      if (refusal.status === 412 || refusal.status === 304) return false;
      if (refusal.status !== 409) this.#unknown.add(kind);
      else if (await exists()) return false;
      else await sleep(conflictPause * (1 + Math.random()), undefined, { signal });
    }
    if (this.#unknown.has(kind)) {
      if (await exists()) return false;
      const { refusal } = await write(undefined);
      if (refusal === undefined) return true;
    }
    throw new StoreError("unavailable", "S3 keeps refusing to write an object that is not there");
  }
}
