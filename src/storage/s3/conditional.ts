// Writes an object unless it is there: with `If-None-Match: *` where the server knows it, by a look first where not.
import { StoreError } from "../../ports/blobs.ts";
import { realPause } from "../../ports/clock.ts";
import type { S3Answer } from "./bucket.ts";
import type { S3Refusal } from "./failure.ts";

/** Attempts while another node is writing the same object (409), and milliseconds between them, twice that at most. */
const conflictAttempts = 3;
const conflictPause = 200;

/** Servers may know it for one only: Ceph 16 ignores it for `complete`, Swift refuses it for `put`. */
export type ConditionalWrite = "put" | "complete";

/** Refusals that concern the condition. Old MinIO answered 304 for 412 (minio#19442). */
export function isConditionAnswer({ status, code }: S3Refusal): boolean {
  return [304, 409, 412, 501].includes(status) || code === "NotImplemented";
}

/** What one server supports: the condition is taken to be known until the server says that it is not. */
export class ConditionalWrites {
  readonly #unsupported = new Set<ConditionalWrite>();

  /** Whether the server has said that it does not know the condition. */
  isUnsupported(write: ConditionalWrite): boolean {
    return this.#unsupported.has(write);
  }

  /**
   * Writes the object unless it is there. True when it was written now, false when it was there. `write` accepts the
   * refusals of `isConditionAnswer`. A server that ignores the condition overwrites the object with the same bytes.
   */
  async run(
    kind: ConditionalWrite,
    write: (ifNoneMatch: "*" | undefined) => Promise<S3Answer<unknown>>,
    exists: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<boolean> {
    for (let attempt = 0; !this.#unsupported.has(kind) && attempt < conflictAttempts; attempt++) {
      const { refusal } = await write("*");
      if (refusal === undefined) return true;
      if (refusal.status === 412 || refusal.status === 304) return false;
      if (refusal.status !== 409) this.#unsupported.add(kind);
      else if (await exists()) return false;
      else await realPause(conflictPause * (1 + Math.random()), signal);
    }
    if (this.#unsupported.has(kind)) {
      if (await exists()) return false;
      const { refusal } = await write(undefined);
      if (refusal === undefined) return true;
    }
    throw new StoreError("unavailable", "S3 keeps refusing to write an object that is not there");
  }
}
