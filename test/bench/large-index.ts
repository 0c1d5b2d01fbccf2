// A cache directory with as many blobs and tags as wanted, written by our own classes: what the program finds at start.

import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, linkSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { type Digest, makeDigest } from "../../src/oci/digest.ts";
import type { Repository, Tag } from "../../src/oci/name.ts";
import { digestAlgorithms, Layout, shards } from "../../src/storage/disk/layout.ts";
import { openDiskStore } from "../../src/storage/disk/store.ts";
import { openIndex, type SqliteIndex } from "../../src/storage/index/sqlite-index.ts";

export const upstreamName = "upstream";
/** Bytes of every stored file: sparse, so that a million take no space, and too large to be read into memory. */
export const blobSize = 70_000;
const mediaType = "application/vnd.oci.image.manifest.v1+json";
/** Rows of one transaction. */
const rowsAtOnce = 20_000;
/** A file system allows 65,000 names for one file (ext4). */
const namesOfOneFile = 50_000;
/** Blobs of one image: one manifest and its layers. */
const imageSize = 10;

export interface IndexSize {
  readonly blobs: number;
  readonly tags: number;
  /** The longest unused, which have files of their own with bytes in them: deleting them costs what it does. */
  readonly own: number;
}

/** The blob of a number, spread over all shards; the lower the longer unused. */
export function blobDigest(at: number): Digest {
  return makeDigest("sha256", createHash("sha256").update(`blob ${at}`).digest("hex"));
}

/** The repository that links the blob. */
export function repositoryOf(at: number): Repository {
  return `team-${Math.floor(at / imageSize) % 100}/app-${Math.floor(at / imageSize) % 2_000}` as Repository;
}

export function tagOf(at: number): { repository: Repository; tag: Tag } {
  return { repository: repositoryOf(at * imageSize), tag: `v${at}` as Tag };
}

/** Makes the directory, which must not have an index, and closes everything in good order. */
export async function makeLargeIndex(directory: string, size: IndexSize): Promise<void> {
  const store = await openDiskStore({ directory });
  makeFiles(new Layout(directory), size);
  await store.close();
  const index = openIndex({ directory, clock: Date.now });
  const start = Date.now() - size.blobs;
  for (let from = 0; from < size.blobs; from += rowsAtOnce) {
    index.transaction(() => {
      for (let at = from; at < Math.min(from + rowsAtOnce, size.blobs); at++) addBlob(index, at, start + at);
    });
    await turn();
  }
  for (let from = 0; from < size.tags; from += rowsAtOnce) {
    index.transaction(() => {
      for (let at = from; at < Math.min(from + rowsAtOnce, size.tags); at++) addTag(index, at);
    });
    await turn();
  }
  index.reconciled();
  index.close();
}

/** Every tenth blob is the manifest of the nine after it. */
function addBlob(index: SqliteIndex, at: number, usedAt: number): void {
  const digest = blobDigest(at);
  const isManifest = at % imageSize === 0;
  // Hashed a day ago: what was hashed lately is doubted after a crash, and these files are empty ones.
  const checkedAt = usedAt - 86_400_000;
  index.blobs.add(digest, blobSize, isManifest ? mediaType : undefined, usedAt, checkedAt);
  void index.links.add({ upstream: upstreamName, repository: repositoryOf(at) }, [
    { digest, size: blobSize },
  ]);
  if (!isManifest) return;
  const layers = Array.from({ length: imageSize - 1 }, (_, layer) => ({
    digest: blobDigest(at + layer + 1),
    size: blobSize,
  }));
  index.blobs.setChildren(digest, layers);
}

function addTag(index: SqliteIndex, at: number): void {
  const { repository, tag } = tagOf(at);
  const record = { digest: blobDigest(at * imageSize), mediaType, size: blobSize, checkedAt: Date.now() };
  void index.tags.put({ upstream: upstreamName, repository }, tag, record);
}

function makeFiles(layout: Layout, { blobs, own }: IndexSize): void {
  for (const algorithm of digestAlgorithms)
    for (const shard of shards) mkdirSync(layout.shard(algorithm, shard), { recursive: true, mode: 0o700 });
  const bytes = Buffer.alloc(blobSize, 1);
  for (let at = 0; at < Math.min(own, blobs); at++) writeFileSync(layout.blob(blobDigest(at)), bytes);
  let first = "";
  for (let at = own; at < blobs; at++) {
    const path = layout.blob(blobDigest(at));
    if ((at - own) % namesOfOneFile === 0) {
      makeSparse(path);
      first = path;
    } else linkSync(first, path);
  }
}

function makeSparse(path: string): void {
  const file = openSync(path, "w", 0o600);
  ftruncateSync(file, blobSize);
  closeSync(file);
}
