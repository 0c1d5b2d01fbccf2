// The file of a blob as it would be served.
import type { Digest } from "../../oci/digest.ts";
import type { BlobInfo } from "../../ports/blobs.ts";
import type { BlobIndex } from "../../ports/records.ts";

/** Undefined also for a file of another size than was verified, which is never served. Rejects with StoreError. */
export async function verifiedFile(
  store: { info(digest: Digest): Promise<BlobInfo | undefined> },
  index: Pick<BlobIndex, "get">,
  digest: Digest,
): Promise<BlobInfo | undefined> {
  const file = await store.info(digest);
  const known = index.get(digest);
  return file !== undefined && (known === undefined || known.size === file.size) ? file : undefined;
}
