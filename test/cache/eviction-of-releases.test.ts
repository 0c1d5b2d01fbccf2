// What the eviction keeps of images whose tags move on: more of what is pulled, since layers that only superseded images use go
// before others.
import t from "tap";
import { Eviction } from "../../src/cache/eviction.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Repository, Tag } from "../../src/oci/name.ts";
import { openIndex } from "../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../fixtures/blob-store-suite.ts";
import { SeededRandom } from "../fixtures/seeded-random.ts";

const megabyte = 1_000_000;
const mediaType = "application/vnd.oci.image.manifest.v1+json";
/** Repositories, each with a tag that moves every day, and layers of a size of their own. */
const apps = 10;
const days = 60;
const ownLayers = 3;
/** Pulls of each release on its day, by machines with empty disks. */
const pulls = 40;
/** Share of the days on which an app goes back to one of its last three releases. */
const rollbacks = 0.1;
/** Images that are pulled once in a while and do not move, a layer each. */
const tools = 300;
/** Of them a day. */
const toolPulls = 40;

interface Hits {
  readonly layers: number;
  readonly hits: number;
  readonly rollbackLayers: number;
  readonly rollbackHits: number;
}

/** `sweeps`: whether images that tags have moved on from are looked at. */
async function hitsOf(directory: string, sweeps: boolean): Promise<Hits> {
  let now = 0;
  const index = openIndex({ directory, clock: () => now });
  const stored = new Set<Digest>();
  const maxSize = 250 * megabyte;
  const eviction = new Eviction({
    store: { delete: async () => true },
    index: index.blobs,
    limits: () => ({ maxSize, smallBlob: megabyte, evictTo: 0.95, keepFree: 0 }),
    freeSpace: async () => ({ free: 1e12, total: 1e12 }),
    fillingBytes: () => 0,
    inUse: () => false,
    evicting: (digest) => stored.delete(digest),
    notices: () => {},
    clock: () => now,
  });
  const random = new SeededRandom(7);
  const sums = { layers: 0, hits: 0, rollbackLayers: 0, rollbackHits: 0 };
  const pull = async (name: string, layers: readonly string[], isRollback: boolean): Promise<void> => {
    now += 1;
    const manifest = digestOf(Buffer.from(name));
    const digests = layers.map((layer) => digestOf(Buffer.from(layer)));
    if (!stored.has(manifest)) {
      stored.add(manifest);
      const parts = digests.map((digest) => ({ digest, size: megabyte }));
      index.blobs.setChildren(manifest, parts);
      index.blobs.add(manifest, 1_000, mediaType, now);
    }
    for (const digest of digests) {
      const isHit = stored.has(digest);
      sums.layers++;
      sums.hits += isHit ? 1 : 0;
      if (isRollback) sums.rollbackLayers++;
      if (isRollback && isHit) sums.rollbackHits++;
      if (isHit) index.blobs.touch(digest, now);
      else {
        index.blobs.add(digest, megabyte, undefined, now);
        stored.add(digest);
      }
      if (index.blobs.totals().bytes > maxSize) await eviction.run();
    }
  };
  const move = async (app: number, image: string): Promise<void> => {
    const scope = { upstream: "hub", repository: `team/app-${app}` as Repository };
    const record = { digest: digestOf(Buffer.from(image)), mediaType, size: 1_000, checkedAt: now };
    await index.tags.put(scope, "latest" as Tag, record);
    if (sweeps) for (let at = 0; at < 3; at++) index.superseded.sweep();
  };
  try {
    for (let day = 0; day < days; day++) {
      for (let app = 0; app < apps; app++) {
        const isRollback = day > 3 && random.chance(rollbacks);
        const release = isRollback ? day - 1 - random.below(3) : day;
        const image = `app ${app} release ${release}`;
        const own = Array.from({ length: ownLayers }, (_, at) => `${image} layer ${at}`);
        for (let at = 0; at < (isRollback ? 1 : pulls); at++)
          await pull(image, [`base ${app % 5}`, ...own], isRollback);
        // The tag of a rollback moves back, and on again with the next release.
        await move(app, image);
      }
      for (let at = 0; at < toolPulls; at++) {
        const tool = Math.floor(random.next() * random.next() * tools);
        await pull(`tool ${tool}`, [`tool ${tool} layer`], false);
      }
    }
    return sums;
  } finally {
    index.close();
  }
}

t.test("of releases day after day more of what is pulled stays, and what is rolled back to", async (t) => {
  const directory = t.testdir({ with: {}, without: {} });
  const [discounted, before] = [
    await hitsOf(`${directory}/with`, true),
    await hitsOf(`${directory}/without`, false),
  ];
  t.equal(discounted.layers, before.layers, "the same pulls");
  const [missed, missedBefore] = [discounted, before].map(({ layers, hits }) => layers - hits) as [
    number,
    number,
  ];
  t.ok(missed < 0.8 * missedBefore, `${missed} layers fetched, ${missedBefore} without`);
  t.ok(
    discounted.rollbackHits >= before.rollbackHits,
    `rollbacks: ${discounted.rollbackHits}, ${before.rollbackHits}`,
  );
});
