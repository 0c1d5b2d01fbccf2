import { mkdir, readdir, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import { type Digest, digestHex } from "../../../src/oci/digest.ts";
import type { BlobInfo } from "../../../src/ports/blobs.ts";
import { type DiskStore, openDiskStore } from "../../../src/storage/disk/store.ts";
import { type ReconcileCounts, reconcile } from "../../../src/storage/index/reconcile.ts";
import { openIndex, type SqliteIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf, putBlob, someBytes } from "../../fixtures/blob-store-suite.ts";
import { byLastUse } from "../../fixtures/index-order.ts";
import { type Cleanup, workDirectory } from "../../system/fixtures/work-directory.ts";
import { killWorker } from "../fixtures/kill-worker.ts";

const now = Date.UTC(2030, 0);
const types = {
  image: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  docker: "application/vnd.docker.distribution.manifest.v2+json",
  schema1: "application/vnd.docker.distribution.manifest.v1+prettyjws",
};

interface Cache {
  readonly directory: string;
  readonly store: DiskStore;
  readonly index: SqliteIndex;
  readonly run: (signal?: AbortSignal) => Promise<ReconcileCounts | undefined>;
  readonly close: () => Promise<void>;
}

async function openCache(t: Cleanup, at?: string): Promise<Cache> {
  const directory = at ?? (await workDirectory(t));
  const store = await openDiskStore({ directory });
  const clock = (): number => now;
  const index = openIndex({ directory, clock });
  const close = async (): Promise<void> => {
    index.close();
    await store.close();
  };
  t.teardown(close);
  const run = (signal?: AbortSignal): Promise<ReconcileCounts | undefined> =>
    reconcile({ store, index, clock, ...(signal && { signal }) });
  return { directory, store, index, run, close };
}

function fileOf({ directory }: Cache, digest: Digest): string {
  const hex = digestHex(digest);
  return join(directory, "blobs/sha256", hex.slice(0, 2), hex);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function descriptor(bytes: Buffer): { digest: Digest; size: number; mediaType: string } {
  return { digest: digestOf(bytes), size: bytes.length, mediaType: "application/octet-stream" };
}

/** Every row and every file, to be compared. */
async function tableAndStore({ store, index }: Cache): Promise<[Map<Digest, number>, Map<Digest, number>]> {
  const files: BlobInfo[] = [];
  for await (const info of store.list()) files.push(info);
  const rows = byLastUse(index.blobs, 1_000_000);
  return [
    new Map(rows.map(({ digest, size }) => [digest, size])),
    new Map(files.map(({ digest, size }) => [digest, size])),
  ];
}

async function checkEqual(t: Test, cache: Cache): Promise<void> {
  const [rows, files] = await tableAndStore(cache);
  t.same(rows, files, "the table equals the store");
  const bytes = [...files.values()].reduce((sum, size) => sum + size, 0);
  t.same(cache.index.blobs.totals(), { bytes, count: files.size }, "and so do the totals");
}

t.test("a deleted index is made again from the store", async (t) => {
  const cache = await openCache(t);
  const { store, index } = cache;
  const layers = [1, 2, 3].map((seed) => someBytes(1000 * seed, seed));
  const config = json({ architecture: "amd64", config: { Env: ["A=b"] }, rootfs: { type: "layers" } });
  const [layer1, layer2, layer3] = layers.map(descriptor);
  const image = json({ schemaVersion: 2, config: descriptor(config), layers: [layer1, layer2] });
  const docker = json({
    schemaVersion: 2,
    mediaType: types.docker,
    config: descriptor(config),
    layers: [layer1, layer3],
    subject: descriptor(image),
  });
  const list = json({ schemaVersion: 2, mediaType: types.index, manifests: [image, docker].map(descriptor) });
  const schema1 = json({
    schemaVersion: 1,
    name: "team/app",
    fsLayers: [{ blobSum: layer1?.digest }],
    signatures: [{}],
  });
  const others = [Buffer.from("{ not json"), json({ just: "data" }), Buffer.alloc(0), Buffer.from("[1]")];
  const manifests = [image, docker, list, schema1];
  for (const bytes of [...layers, config, ...others, ...manifests]) await putBlob(store, bytes);
  const [old, future] = [layers[0] as Buffer, layers[1] as Buffer].map((bytes) => digestOf(bytes));
  await utimes(fileOf(cache, old as Digest), 1_000_000, 1_000_000);
  await utimes(fileOf(cache, future as Digest), now / 1000 + 1_000_000, now / 1000 + 1_000_000);

  t.same(await cache.run(), { files: 12, added: 12, manifests: 4, removed: 0, damaged: 0 });
  await checkEqual(t, cache);
  const typeOf = (bytes: Buffer): string | undefined => index.blobs.get(digestOf(bytes))?.mediaType;
  t.same(manifests.map(typeOf), [types.image, types.docker, types.index, types.schema1]);
  for (const bytes of [...layers, config, ...others]) t.equal(typeOf(bytes), undefined);
  t.equal(index.blobs.manifestsNaming(layer1?.digest as Digest), 3);
  t.equal(index.blobs.manifestsNaming(digestOf(config)), 2);
  t.equal(index.blobs.manifestsNaming(digestOf(image)), 1);
  t.equal(
    index.graph.parts(digestOf(image), 10).find(({ digest }) => digest === digestOf(config))?.role,
    "config",
  );
  t.same(index.graph.referrers(digestOf(image), 10), [digestOf(docker)]);
  const order = byLastUse(index.blobs, 100);
  t.match(order[0], { digest: old, usedAt: 1_000_000_000 }, "its last use is its file's time");
  t.match(order.at(-1), { digest: future, usedAt: now }, "but never in the future");
  t.equal(index.needsReconcile, false);
});

t.test("after a clean stop nothing is listed", async (t) => {
  const first = await openCache(t);
  await first.run();
  first.index.blobs.add(digestOf(Buffer.from("a")), 1, undefined, 1);
  await first.close();
  const second = await openCache(t, first.directory);
  t.equal(await second.run(), undefined);
  t.equal(second.index.blobs.totals().count, 1, "the table is believed");
});

t.test("a table that is wrong becomes right", async (t) => {
  const cache = await openCache(t);
  const { store, index } = cache;
  const digests: Digest[] = [];
  for (let seed = 0; seed < 20; seed++) digests.push(await putBlob(store, someBytes(100 + seed, seed)));
  const [cut, grown, ...sound] = digests as [Digest, Digest, ...Digest[]];
  for (const digest of digests.slice(0, 12))
    index.blobs.add(digest, 100 + digests.indexOf(digest), types.image, 77);
  const gone = [1, 2, 3, 4, 5].map((name) => digestOf(Buffer.from(`gone ${name}`)));
  for (const digest of gone) index.blobs.add(digest, 1_000_000, undefined, 1);
  index.blobs.setChildren(gone[0] as Digest, [{ digest: sound[0] as Digest, size: undefined }]);
  await truncate(fileOf(cache, cut), 50);
  await writeFile(fileOf(cache, grown), "more", { flag: "a" });
  await writeFile(join(dirname(fileOf(cache, cut)), "foreign"), "");

  t.same(await cache.run(), { files: 20, added: 8, manifests: 0, removed: 5, damaged: 2 });
  await checkEqual(t, cache);
  t.equal(await store.open(cut), undefined, "a file of the wrong size is not served");
  t.equal(index.blobs.get(sound[0] as Digest)?.mediaType, types.image, "what was known stays known");
  t.match(byLastUse(index.blobs, 1), [{ usedAt: 77 }], "also the last use");
  t.equal(index.blobs.manifestsNaming(sound[0] as Digest), 0, "a manifest that is gone names nothing");
});

t.test("a store made anew empties the table, also after a clean stop", async (t) => {
  const first = await openCache(t);
  await first.run();
  const digest = await putBlob(first.store, someBytes(10));
  first.index.blobs.add(digest, 10, undefined, 1);
  await first.close();
  await rm(join(first.directory, "blobs"), { recursive: true });
  const second = await openCache(t, first.directory);
  t.equal(second.index.needsReconcile, false);
  t.match(await second.run(), { files: 0, removed: 1 });
  await checkEqual(t, second);
});

t.test("ended early it is done again at the next start", async (t) => {
  const first = await openCache(t);
  const digest = await putBlob(first.store, someBytes(10));
  const stop = new AbortController();
  const list = first.store.listShard.bind(first.store);
  first.store.listShard = (algorithm, shard) => {
    if (shard === "03") stop.abort(new Error("stopping"));
    return list(algorithm, shard);
  };
  await t.rejects(first.run(stop.signal), { message: "stopping" });
  await first.close();
  const second = await openCache(t, first.directory);
  t.equal(second.index.needsReconcile, true);
  await second.run();
  t.ok(second.index.blobs.get(digest));
});

t.test("a store that fails to list is an error, not an empty store", async (t) => {
  const cache = await openCache(t);
  cache.index.blobs.add(digestOf(Buffer.from("a")), 1, undefined, 1);
  await rm(join(cache.directory, "blobs"), { recursive: true });
  await t.rejects(cache.run(), { name: "StoreError", code: "unavailable" });
  t.equal(cache.index.blobs.totals().count, 1);
  t.equal(cache.index.needsReconcile, true);
});

t.test("what requests change meanwhile wins", async (t) => {
  const cache = await openCache(t);
  const { store, index } = cache;
  const evicted = await putBlob(store, someBytes(100, 1));
  const evictedKnown = await putBlob(store, someBytes(100, 2));
  index.blobs.add(evictedKnown, 100, undefined, 1);
  const used = await putBlob(store, someBytes(100, 3));
  const refilled = digestOf(someBytes(100, 4));
  index.blobs.add(refilled, 100, undefined, 1);
  const manifest = json({ schemaVersion: 2, config: descriptor(someBytes(1, 1)), layers: [] });
  const askedFor = await putBlob(store, manifest);
  const late = new Map<string, Buffer>();
  for (let seed = 100; seed < 140; seed++) {
    const bytes = someBytes(100, seed);
    late.set(digestHex(digestOf(bytes)).slice(0, 2), bytes);
  }
  const commit = async (bytes: Buffer): Promise<void> => {
    index.blobs.add(await putBlob(store, bytes), bytes.length, undefined, now + 5);
  };
  /** What happens in a shard after it was listed and before it is compared. */
  const meanwhile = async (shard: string): Promise<void> => {
    const here = (digest: Digest): boolean => digestHex(digest).startsWith(shard);
    for (const digest of [evicted, evictedKnown].filter(here)) {
      await store.delete(digest);
      index.blobs.remove(digest);
    }
    for (const digest of [used, askedFor].filter(here))
      index.blobs.add(digest, digest === used ? 100 : manifest.length, undefined, now + 5);
    if (here(refilled)) await commit(someBytes(100, 4));
    const bytes = late.get(shard);
    if (bytes) await commit(bytes);
  };
  const list = store.listShard.bind(store);
  store.listShard = async function* (algorithm, shard) {
    yield* list(algorithm, shard);
    if (algorithm === "sha256") await meanwhile(shard);
  };

  const counts = await cache.run();
  await checkEqual(t, cache);
  t.same(counts, { files: 4, added: 0, manifests: 1, removed: 0, damaged: 0 });
  for (const bytes of late.values()) t.ok(index.blobs.get(digestOf(bytes)), "added meanwhile, kept");
  t.ok(index.blobs.get(refilled));
  t.equal(index.blobs.get(evicted), undefined);
  t.match(
    byLastUse(index.blobs, 100).find((blob) => blob.digest === used),
    { usedAt: now + 5 },
    "a use is not undone",
  );
  t.equal(index.blobs.get(askedFor)?.mediaType, types.image, "its type is still found out");
});

t.test("beside requests that come and go at random", async (t) => {
  const cache = await openCache(t);
  const { store, index } = cache;
  for (let seed = 0; seed < 300; seed++) {
    const digest = await storeQuickly(cache, someBytes(50, seed));
    if (seed % 2) index.blobs.add(digest, 50, undefined, seed);
    if (seed % 5 === 0) index.blobs.add(digestOf(Buffer.from(`gone ${seed}`)), 1, undefined, seed);
  }
  let running = true;
  const churn = async (from: number): Promise<number> => {
    let changes = 0;
    for (let seed = from; running; seed++, changes++) {
      const bytes = someBytes(50, 1000 + (seed % 500));
      index.blobs.add(await storeQuickly(cache, bytes), bytes.length, undefined, seed);
      for (const victim of byLastUse(index.blobs, 2)) {
        await store.delete(victim.digest);
        index.blobs.remove(victim.digest);
      }
      await turn();
    }
    return changes;
  };
  const requests = churn(0);
  await cache.run();
  running = false;
  t.comment(`${await requests} changes meanwhile`);
  await checkEqual(t, cache);
});

/** As a commit would leave it, without the fsync that makes thousands of them slow. */
async function storeQuickly(cache: Cache, bytes: Buffer): Promise<Digest> {
  const digest = digestOf(bytes);
  await mkdir(dirname(fileOf(cache, digest)), { recursive: true });
  await writeFile(fileOf(cache, digest), bytes);
  return digest;
}

t.test("killed at any moment, the table is right after the next start", async (t) => {
  const directory = await workDirectory(t);
  for (let round = 0; round < 8; round++) {
    await killWorker(t, directory, round * 1000, 3 + ((round * 11) % 60));
    const cache = await openCache(t, directory);
    t.equal(cache.index.needsReconcile, true);
    await cache.run();
    await checkEqual(t, cache);
    t.same(await readdir(join(directory, "spool")), []);
    await cache.close();
  }
});
