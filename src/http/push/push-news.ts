// What the outcome of a write says about what the cache holds of the repository.
import type { Digest } from "../../oci/digest.ts";
import type { Reference } from "../../oci/reference.ts";
import type { PushSink } from "../../ports/push.ts";
import { digestsNamed } from "./refused-write.ts";
import type { WriteRequest } from "./write-request.ts";

/** Upstream has done it. `blob`: what it has in the repository now because of an upload. */
export async function tellDone(sink: PushSink, write: WriteRequest, blob: Digest | undefined): Promise<void> {
  const { repository } = write;
  if (write.kind === "manifest") {
    const what = write.method === "PUT" ? "pushed" : "deleted";
    for (const reference of writtenReferences(write)) await sink.changed(repository, reference, what);
    return;
  }
  if (write.kind === "blob") return sink.blobDeleted(repository, write.digest);
  if (blob !== undefined) await sink.blobPushed(repository, blob);
}

/** Upstream has refused it, with a status from 400 to 499 and this body. */
export async function tellRefused(
  sink: PushSink,
  write: WriteRequest,
  status: number,
  text: string | undefined,
): Promise<void> {
  if (write.method === "DELETE" && (status === 404 || status === 410))
    return tellDone(sink, write, undefined);
  // Clients skip blobs that HEAD says are there. One this mirror still knows and upstream has lost would be
  // skipped by every later try as well.
  if (write.kind !== "manifest" || write.method !== "PUT") return;
  for (const digest of digestsNamed(text)) await sink.blobDeleted(write.repository, digest);
}

/** Upstream may have done it: the answer was lost, or was an error of its own. */
export async function tellDoubtful(sink: PushSink, write: WriteRequest): Promise<void> {
  if (write.kind === "manifest")
    for (const reference of writtenReferences(write))
      await sink.changed(write.repository, reference, "unsure");
  if (write.kind === "blob") await sink.blobDeleted(write.repository, write.digest);
}

function writtenReferences({ reference, tags }: WriteRequest & { kind: "manifest" }): readonly Reference[] {
  return [reference, ...tags.map((tag): Reference => ({ kind: "tag", tag }))];
}
