// Makes the blob table of the index equal to the store after a crash or with a new index, shard by shard while requests
// run. The store decides what is there. A change that a request makes meanwhile is newer than the list, and stays.
import { setImmediate as turn } from "node:timers/promises";
import type { Digest, DigestAlgorithm } from "../../oci/digest.ts";
import type { Manifest } from "../../oci/manifest.ts";
import type { BlobInfo } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import { digestAlgorithms, shards } from "../disk/layout.ts";
import type { DiskStore } from "../disk/store.ts";
import type { ChangeWatch } from "./blobs.ts";
import type { SqliteIndex } from "./sqlite-index.ts";
import { readStored } from "./stored-manifests.ts";

export interface ReconcileOptions {
  readonly store: DiskStore;
  readonly index: SqliteIndex;
  readonly clock: Clock;
  /** Ends it early: the promise rejects with the reason, and the next start reconciles again. */
  readonly signal?: AbortSignal;
}

export interface ReconcileCounts {
  /** Files found in the store. */
  readonly files: number;
  /** Rows added for files the index did not know. */
  readonly added: number;
  /** Manifests among the added. */
  readonly manifests: number;
  /** Rows removed because their file is gone. */
  readonly removed: number;
  /** Files taken out of the store, and their rows, because their size is not the one that was verified. */
  readonly damaged: number;
}

type Counts = { -readonly [Name in keyof ReconcileCounts]: number };

/** Rows and files handled in one turn of the event loop: a few milliseconds of work. */
const rowsPerTurn = 100;
const filesPerTurn = 50;

/**
 * Resolves with undefined at once when the last stop was a clean one and the store is not new. Otherwise compares
 * everything in turns of a few milliseconds; memory is bounded by one shard, 1/256 of the store. The last use of a blob
 * without a row is when its file was modified, but never in the future. Rejects with StoreError.
 */
export async function reconcile(options: ReconcileOptions): Promise<ReconcileCounts | undefined> {
  const { store, index, signal } = options;
  if (store.created) index.requireReconcile();
  if (!index.needsReconcile) return undefined;
  const counts: Counts = { files: 0, added: 0, manifests: 0, removed: 0, damaged: 0 };
  for (const algorithm of digestAlgorithms)
    for (const shard of shards) {
      signal?.throwIfAborted();
      const watch = index.blobs.watch();
      try {
        await reconcileShard(options, algorithm, shard, watch, counts);
      } finally {
        watch.stop();
      }
    }
  index.reconciled();
  return counts;
}

async function reconcileShard(
  options: ReconcileOptions,
  algorithm: DigestAlgorithm,
  shard: string,
  watch: ChangeWatch,
  counts: Counts,
): Promise<void> {
  const unknown = new Map<Digest, BlobInfo>();
  for await (const file of options.store.listShard(algorithm, shard)) {
    unknown.set(file.digest, file);
    counts.files++;
  }
  let after: Digest | undefined;
  for (;;) {
    const rows = options.index.blobs.listShard(algorithm, shard, after, rowsPerTurn);
    const [gone, damaged]: [Digest[], Digest[]] = [[], []];
    for (const { digest, size } of rows) {
      if (watch.changed.has(digest)) continue;
      const file = unknown.get(digest);
      unknown.delete(digest);
      if (file === undefined) gone.push(digest);
      else if (file.size !== size) damaged.push(digest);
    }
    counts.removed += removeRows(options.index, gone);
    for (const digest of damaged) counts.damaged += await removeDamaged(options, digest, watch);
    after = rows.at(-1)?.digest;
    if (rows.length < rowsPerTurn) break;
    await turn();
  }
  await addFiles(options, [...unknown.values()], watch, counts);
}

function removeRows(index: SqliteIndex, digests: readonly Digest[]): number {
  if (digests.length === 0) return 0;
  index.transaction(() => {
    for (const digest of digests) index.blobs.remove(digest);
  });
  return digests.length;
}

/** Only verified bytes get a row, so a file of another size was cut or overwritten since then. */
async function removeDamaged(
  { store, index }: ReconcileOptions,
  digest: Digest,
  watch: ChangeWatch,
): Promise<number> {
  if (watch.changed.has(digest)) return 0;
  index.blobs.remove(digest);
  await store.quarantine(digest);
  return 1;
}

async function addFiles(
  options: ReconcileOptions,
  files: readonly BlobInfo[],
  watch: ChangeWatch,
  counts: Counts,
): Promise<void> {
  for (let at = 0; at < files.length; at += filesPerTurn) {
    options.signal?.throwIfAborted();
    const found: { file: BlobInfo; manifest: Manifest | undefined }[] = [];
    for (const file of files.slice(at, at + filesPerTurn))
      found.push({ file, manifest: await manifestIn(options.store, file) });
    options.index.transaction(() => {
      for (const { file, manifest } of found) addFile(options, file, manifest, watch, counts);
    });
    await turn();
  }
}

function addFile(
  { index, clock }: ReconcileOptions,
  { digest, size, modifiedAt }: BlobInfo,
  manifest: Manifest | undefined,
  watch: ChangeWatch,
  counts: Counts,
): void {
  const row = index.blobs.get(digest);
  // It changed and has no row: it was removed after it was listed.
  if (row === undefined && watch.changed.has(digest)) return;
  if (row === undefined) counts.added++;
  else if (manifest === undefined || row.mediaType !== undefined) return;
  const usedAt = row === undefined ? Math.min(modifiedAt, clock()) : clock();
  index.blobs.add(digest, size, manifest?.mediaType, usedAt);
  if (manifest === undefined) return;
  counts.manifests++;
  index.blobs.setChildren(digest, manifest.children, manifest.subject);
}

/** A manifest has to name something: an image's config is JSON too, with a `config` member as in a manifest. */
async function manifestIn(store: DiskStore, file: BlobInfo): Promise<Manifest | undefined> {
  // A request for one that cannot be read gets the failure.
  const manifest = await readStored(store, file, undefined).catch(() => undefined);
  return manifest !== undefined && manifest.children.length > 0 ? manifest : undefined;
}
