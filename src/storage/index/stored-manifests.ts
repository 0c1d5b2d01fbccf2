// Reads manifests of the store for the image graph: those of a new index, and once, in the background, those that an earlier
// version stored without their roles, platforms and subjects.
import { setImmediate as turn } from "node:timers/promises";
import type { Digest } from "../../oci/digest.ts";
import { largestManifest, type Manifest, readManifest } from "../../oci/manifest.ts";
import { readWhole } from "../../ports/blobs.ts";
import type { DiskStore } from "../disk/store.ts";
import type { SqliteIndex } from "./sqlite-index.ts";

/** Rows looked at in one turn of the event loop, and manifests read in one: a few milliseconds of work. */
const rowsPerTurn = 500;
const manifestsPerTurn = 50;

export interface ReadGraphOptions {
  readonly store: Pick<DiskStore, "open">;
  readonly index: Pick<SqliteIndex, "blobs" | "graph" | "pause" | "transaction">;
  /** Ends it early: the promise rejects with the reason, and the next start goes on. */
  readonly signal?: AbortSignal;
}

/**
 * Reads each manifest of the index once, in the order of digests, and goes on where it was when the program ended. Resolves
 * with how many were read; at once with undefined when all have been. Rejects with StoreError, also when one cannot be read
 * now: the next call tries it again, with those around it.
 */
export async function readGraph({ store, index, signal }: ReadGraphOptions): Promise<number | undefined> {
  let after = index.graph.unreadAfter();
  if (after === undefined) return undefined;
  let count = 0;
  while (after !== undefined) {
    signal?.throwIfAborted();
    const { manifests, next } = index.graph.unread(after, rowsPerTurn);
    for (let at = 0; at < manifests.length; at += manifestsPerTurn) {
      const read: [Digest, Manifest][] = [];
      for (const file of manifests.slice(at, at + manifestsPerTurn)) {
        const manifest = await readStored(store, file, file.mediaType);
        if (manifest !== undefined) read.push([file.digest, manifest]);
      }
      await index.pause;
      index.transaction(() => {
        // It may have been removed while it was read.
        for (const [digest, { children, subject }] of read)
          if (index.blobs.get(digest) !== undefined) index.blobs.setChildren(digest, children, subject);
      });
      count += read.length;
      await turn();
    }
    index.graph.readUpTo(next);
    after = next;
    await turn();
  }
  return count;
}

/** Undefined also for a file that is gone, of another size, or no manifest. Rejects with StoreError when it cannot be read. */
export async function readStored(
  store: Pick<DiskStore, "open">,
  { digest, size }: { readonly digest: Digest; readonly size: number },
  mediaType: string | undefined,
): Promise<Manifest | undefined> {
  if (size === 0 || size > largestManifest) return undefined;
  const body = await readJson(store, digest, size);
  const manifest = body && readManifest(body, mediaType);
  return typeof manifest === "object" ? manifest : undefined;
}

/** The whole file when it begins like a JSON object. */
async function readJson(
  store: Pick<DiskStore, "open">,
  digest: Digest,
  size: number,
): Promise<Buffer | undefined> {
  const reader = await store.open(digest);
  if (reader === undefined || reader.size !== size) {
    await reader?.close();
    return undefined;
  }
  try {
    const start = await reader.read(0, Buffer.alloc(1));
    return start[0] === "{".charCodeAt(0) ? await readWhole(reader, size) : undefined;
  } finally {
    await reader.close();
  }
}
