// What this node stored shortly before it ended, and may not have uploaded: after a start it is offered again. Without
// that, a node killed between a fill and its upload would be the only one that ever has the blob.

import type { BlobStore } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import type { BlobIndex } from "../../ports/records.ts";
import type { SharedBlobs } from "../../ports/shared.ts";
import type { Publisher } from "./publisher.ts";

/** Milliseconds. Older blobs have been uploaded, or deleted there by whoever keeps the shared store small. */
const recent = 24 * 3600_000;

export interface UnpublishedOptions {
  readonly local: Pick<BlobStore, "list">;
  readonly index: Pick<BlobIndex, "get">;
  readonly shared: Pick<SharedBlobs, "head">;
  readonly publisher: Pick<Publisher, "publish">;
  readonly clock: Clock;
  /** Ends it early. */
  readonly signal: AbortSignal;
}

/**
 * Uploads the blobs of the last day that the shared store does not have, one at a time.
 * While it fails they wait in the publisher. Rejects with StoreError when the local store cannot be listed.
 */
export async function publishUnpublished(options: UnpublishedOptions): Promise<void> {
  const { local, index, shared, publisher, clock, signal } = options;
  const since = clock() - recent;
  for await (const { digest, size, modifiedAt } of local.list()) {
    if (signal.aborted) break;
    if (modifiedAt < since) continue;
    const there = await shared.head(digest).catch(() => undefined);
    if (there !== undefined || signal.aborted) continue;
    await publisher.publish(digest, size, index.get(digest)?.mediaType);
  }
}
