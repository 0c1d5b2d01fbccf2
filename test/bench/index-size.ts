// A cache of a million blobs and 200,000 tags: start, memory, look-ups, and what an eviction pass does to the loop.
import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { Eviction } from "../../src/cache/eviction.ts";
import { openDiskStore } from "../../src/storage/disk/store.ts";
import { openIndex } from "../../src/storage/index/sqlite-index.ts";
import { type Mirror, startMirror } from "../system/fixtures/mirror.ts";
import { IndexLoad, type LoadMeasurement } from "./index-load.ts";
import { blobDigest, blobSize, makeLargeIndex, repositoryOf } from "./large-index.ts";
import type { Round } from "./round.ts";
import { ours, type Scale, type Scenario, samplesOf } from "./scenario.ts";

interface IndexSizeOptions {
  readonly blobs: number;
  readonly tags: number;
  /** Blobs one eviction pass removes. */
  readonly evicted: number;
  /** Seconds of load before and after the pass. */
  readonly seconds: number;
  /** Looked-up blobs over HTTP. */
  readonly requests: number;
}

const fullSize: IndexSizeOptions = {
  blobs: 1_000_000,
  tags: 200_000,
  evicted: 10_000,
  seconds: 5,
  requests: 3_000,
};
const quickSize: IndexSizeOptions = {
  blobs: 20_000,
  tags: 4_000,
  evicted: 2_000,
  seconds: 1,
  requests: 500,
};

interface StartMeasurement {
  /** From the start of the process to the first 200 of /readyz. */
  readonly readyMs: number;
  /** Peak resident memory: after the look-ups, or when the index agrees with the store. */
  readonly rssMb: number;
}

interface IndexSizeMeasurements {
  readonly cleanStart: StartMeasurement;
  /** After kill -9: the index is compared with the store meanwhile. */
  readonly dirtyStart: StartMeasurement;
  readonly load: LoadMeasurement;
  readonly eviction: LoadMeasurement & { readonly evicted: number };
}

export function indexSize({ quick }: Scale): Scenario {
  const options = quick ? quickSize : fullSize;
  const { blobs, tags, evicted } = options;
  return {
    name: "index-size",
    title: `An index of ${blobs.toLocaleString("en")} blobs and ${tags.toLocaleString("en")} tags; eviction of ${evicted.toLocaleString("en")}`,
    measures,
    // Making it takes minutes.
    mostRounds: 1,
    async run(round) {
      const measured = await measure(round, options);
      round.equal("blobs evicted", measured.eviction.evicted, evicted);
      return samplesOf(ours, valuesOf(measured));
    },
  };
}

const measures = [
  { id: "ready", title: "Start to ready, after a clean stop", unit: "ms", targets: [{ atMost: 3_000 }] },
  { id: "ready-killed", title: "Start to ready, after kill -9", unit: "ms", targets: [{ atMost: 3_000 }] },
  { id: "rss", title: "Peak RSS while comparing index and store", unit: "MB", targets: [{ atMost: 400 }] },
  { id: "lookup-p99", title: "Look-ups beside load, p99", unit: "ms", targets: [{ atMost: 1 }] },
  { id: "loop-load", title: "Longest stop of the loop, load alone", unit: "ms", targets: [{ atMost: 50 }] },
  { id: "loop-eviction", title: "Longest stop, eviction pass", unit: "ms", targets: [{ atMost: 50 }] },
] as const;

/** The numbers for `measures`. */
function valuesOf(measured: IndexSizeMeasurements): Record<(typeof measures)[number]["id"], number> {
  const { cleanStart, dirtyStart, load, eviction } = measured;
  return {
    ready: cleanStart.readyMs,
    "ready-killed": dirtyStart.readyMs,
    rss: Math.max(cleanStart.rssMb, dirtyStart.rssMb),
    "lookup-p99": Math.max(load.lookupP99Ms, eviction.lookupP99Ms),
    "loop-load": load.loopMaxMs,
    "loop-eviction": eviction.loopMaxMs,
  };
}

/** Everything is measured one after the other; nothing else should run on the machine. */
async function measure(round: Round, options: IndexSizeOptions): Promise<IndexSizeMeasurements> {
  const directory = await round.directory();
  await makeLargeIndex(directory, { ...options, own: options.evicted });
  return {
    ...(await measureStarts(round, directory, options)),
    ...(await measureEviction(directory, options)),
  };
}

/** The real program, started after a clean stop and after kill -9. */
async function measureStarts(
  round: Round,
  directory: string,
  options: IndexSizeOptions,
): Promise<Pick<IndexSizeMeasurements, "cleanStart" | "dirtyStart">> {
  const clean = await start(round, directory, options);
  await clean.mirror.kill();
  const dirty = await start(round, directory, options);
  await dirty.mirror.process.line(reconciled, 300_000);
  const rssMb = (await dirty.mirror.peakMemory()) / 2 ** 20;
  await dirty.mirror.stop();
  return { cleanStart: clean.measured, dirtyStart: { ...dirty.measured, rssMb } };
}

async function start(round: Round, cacheDirectory: string, options: IndexSizeOptions) {
  const began = performance.now();
  // Nobody is asked: everything looked up is here.
  const nowhere = { url: "http://127.0.0.1:9", username: "mirror", password: "secret" };
  // The files are empty ones of the right size: a scrubber would take them for rot.
  const env = { ENTREPOT_CACHE_MAX_SIZE: "10TB", ENTREPOT_CACHE_SCRUB: "0" };
  const mirror = await startMirror(round, nowhere, { cacheDirectory, env });
  await ready(mirror);
  const readyMs = performance.now() - began;
  await lookUp(round, mirror, options);
  const rssMb = (await mirror.peakMemory()) / 2 ** 20;
  return { mirror, measured: { readyMs, rssMb } };
}

async function ready({ ops }: Mirror): Promise<void> {
  while ((await fetch(`http://${ops}/readyz`)).status !== 200) await delay(5);
}

/** Asks for blobs by HEAD, one after the other over one connection: every one of them is here. */
async function lookUp(
  round: Round,
  mirror: Mirror,
  { blobs, evicted, requests }: IndexSizeOptions,
): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (let i = 0; i < requests; i++) {
    const at = evicted + Math.floor(Math.random() * (blobs - evicted));
    const status = await head(mirror.blobUrl(blobDigest(at), repositoryOf(at)), agent);
    round.equal(`status of HEAD of blob ${at}`, status, 200);
  }
  agent.destroy();
}

function head(url: string, agent: Agent): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  request(url, { method: "HEAD", agent }, (answer) => {
    answer.resume().once("end", () => resolve(answer.statusCode));
  })
    .once("error", reject)
    .end();
  return promise;
}

function reconciled(line: string): true | undefined {
  return line.includes("made the index agree") || undefined;
}

/** Load, then load and a pass of the real eviction over the real store, in this process, whose loop is watched. */
async function measureEviction(
  directory: string,
  options: IndexSizeOptions,
): Promise<Pick<IndexSizeMeasurements, "load" | "eviction">> {
  const store = await openDiskStore({ directory });
  const index = openIndex({ directory, clock: Date.now });
  let evicted = 0;
  const eviction = new Eviction({
    store,
    index: index.blobs,
    limits: () => ({ maxSize: Number.MAX_SAFE_INTEGER, smallBlob: 1_000_000, evictTo: 0.9, keepFree: 0 }),
    freeSpace: async () => ({ free: 1, total: 1 }),
    fillingBytes: () => 0,
    inUse: () => false,
    evicting: () => {},
    notices: ({ kind }) => void (kind === "eviction" && evicted++),
    clock: Date.now,
  });
  const rate = { lookups: 10, tags: 2, links: 4, touches: 10, adds: 1 };
  const before = new IndexLoad(index, options, rate);
  await delay(options.seconds * 1_000);
  const load = await before.stop();
  const during = new IndexLoad(index, options, rate);
  await eviction.run(options.evicted * blobSize);
  const measured = await during.stop();
  index.close();
  await store.close();
  return { load, eviction: { ...measured, evicted } };
}
