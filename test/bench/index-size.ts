// A cache of a million blobs and 200,000 tags: start, memory, look-ups, and what an eviction pass does to the loop.
//
//   node test/bench/index-size.ts [--quick] [--directory DIR]   (kept there, and used again, when given)
import { existsSync, statSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Eviction } from "../../src/cache/eviction.ts";
import { openDiskStore } from "../../src/storage/disk-store.ts";
import { openIndex } from "../../src/storage/sqlite-index.ts";
import { type Mirror, startMirror } from "../system/fixtures/mirror.ts";
import { type Cleanup, workDirectory } from "../system/fixtures/work-directory.ts";
import { IndexLoad, type LoadMeasurement } from "./index-load.ts";
import { blobDigest, blobSize, makeLargeIndex, repositoryOf } from "./large-index.ts";

export interface IndexSizeOptions {
  readonly blobs: number;
  readonly tags: number;
  /** Blobs one eviction pass removes. */
  readonly evicted: number;
  /** Seconds of load before and after the pass. */
  readonly seconds: number;
  /** Looked-up blobs over HTTP. */
  readonly requests: number;
  /** Kept, and used again by the next run; a temporary one when left out. */
  readonly directory?: string | undefined;
}

export const fullSize: IndexSizeOptions = {
  blobs: 1_000_000,
  tags: 200_000,
  evicted: 10_000,
  seconds: 5,
  requests: 3_000,
};
export const quickSize: IndexSizeOptions = {
  blobs: 20_000,
  tags: 4_000,
  evicted: 2_000,
  seconds: 1,
  requests: 500,
};

export interface StartMeasurement {
  /** From the start of the process to the first 200 of /readyz. */
  readonly readyMs: number;
  /** Peak resident memory: after the look-ups, or when the index agrees with the store. */
  readonly rssMb: number;
  readonly headP50Ms: number;
  readonly headP99Ms: number;
}

export interface IndexSizeMeasurements {
  readonly makeSeconds: number;
  readonly cleanStart: StartMeasurement;
  /** After kill -9: the index is compared with the store meanwhile. */
  readonly dirtyStart: StartMeasurement & { readonly reconcileSeconds: number; readonly removedRows: number };
  readonly load: LoadMeasurement;
  /** `logMb`: the greatest size of the write-ahead log. */
  readonly eviction: LoadMeasurement & { readonly evicted: number; readonly logMb: number };
}

/** Rows of a table: what is measured, with its bounds. */
export const measures = [
  { id: "ready", title: "Start to ready, after a clean stop", unit: "ms", targets: [{ atMost: 3_000 }] },
  { id: "ready-killed", title: "Start to ready, after kill -9", unit: "ms", targets: [{ atMost: 3_000 }] },
  { id: "rss", title: "Peak RSS while comparing index and store", unit: "MB", targets: [{ atMost: 400 }] },
  { id: "lookup-p99", title: "Look-ups beside load, p99", unit: "ms", targets: [{ atMost: 1 }] },
  { id: "loop-load", title: "Longest stop of the loop, load alone", unit: "ms", targets: [{ atMost: 50 }] },
  { id: "loop-eviction", title: "Longest stop, eviction pass", unit: "ms", targets: [{ atMost: 50 }] },
] as const;

/** The numbers for `measures`. */
export function valuesOf(measured: IndexSizeMeasurements): Record<(typeof measures)[number]["id"], number> {
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
export async function run(t: Cleanup, options: IndexSizeOptions): Promise<IndexSizeMeasurements> {
  const directory = options.directory ?? (await workDirectory(t));
  const began = performance.now();
  const size = { ...options, own: options.evicted };
  if (!existsSync(join(directory, "index.db"))) await makeLargeIndex(directory, size);
  const makeSeconds = (performance.now() - began) / 1_000;
  return {
    makeSeconds,
    ...(await measureStarts(t, directory, options)),
    ...(await measureEviction(directory, options)),
  };
}

/** The real program, started after a clean stop and after kill -9. */
export async function measureStarts(
  t: Cleanup,
  directory: string,
  options: IndexSizeOptions,
): Promise<Pick<IndexSizeMeasurements, "cleanStart" | "dirtyStart">> {
  const clean = await start(t, directory, options);
  await clean.mirror.kill();
  const dirty = await start(t, directory, options);
  const { removed } = await dirty.mirror.process.line(reconciled, 300_000);
  const reconcileSeconds = (performance.now() - dirty.began) / 1_000;
  const rssMb = (await dirty.mirror.peakMemory()) / 2 ** 20;
  await dirty.mirror.stop();
  const dirtyStart = { ...dirty.measured, rssMb, reconcileSeconds, removedRows: removed };
  return { cleanStart: clean.measured, dirtyStart };
}

async function start(t: Cleanup, cacheDirectory: string, options: IndexSizeOptions) {
  const began = performance.now();
  // Nobody is asked: everything looked up is here.
  const nowhere = { url: "http://127.0.0.1:9", username: "mirror", password: "secret" };
  const env = { ENTREPOT_CACHE_MAX_SIZE: "10TB" };
  const mirror = await startMirror(t, nowhere, { cacheDirectory, env });
  await ready(mirror);
  const readyMs = performance.now() - began;
  const times = await lookUp(mirror, options);
  const rssMb = (await mirror.peakMemory()) / 2 ** 20;
  const at = (share: number): number => times[Math.floor((times.length - 1) * share)] ?? Number.NaN;
  return { mirror, began, measured: { readyMs, rssMb, headP50Ms: at(0.5), headP99Ms: at(0.99) } };
}

async function ready({ ops }: Mirror): Promise<void> {
  while ((await fetch(`http://${ops}/readyz`)).status !== 200) await delay(5);
}

/** Milliseconds each HEAD of a blob took, in order of size; one after the other over one connection. */
async function lookUp(mirror: Mirror, { blobs, evicted, requests }: IndexSizeOptions): Promise<Float64Array> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const times = new Float64Array(requests);
  for (let i = 0; i < requests; i++) {
    const at = evicted + Math.floor(Math.random() * (blobs - evicted));
    const began = performance.now();
    const status = await head(mirror.blobUrl(blobDigest(at), repositoryOf(at)), agent);
    times[i] = performance.now() - began;
    if (status !== 200) throw new Error(`HEAD of blob ${at}: ${status}\n${mirror.process.output()}`);
  }
  agent.destroy();
  return times.sort();
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

function reconciled(line: string): { removed: number } | undefined {
  return line.includes("made the index agree") ? JSON.parse(line) : undefined;
}

/** Load, then load and a pass of the real eviction over the real store, in this process, whose loop is watched. */
export async function measureEviction(
  directory: string,
  options: IndexSizeOptions,
): Promise<Pick<IndexSizeMeasurements, "load" | "eviction">> {
  const store = await openDiskStore({ directory });
  const index = openIndex({ directory, clock: Date.now });
  let evicted = 0;
  const eviction = new Eviction({
    store,
    index: index.blobs,
    maxSize: Number.MAX_SAFE_INTEGER,
    evictTo: 0.9,
    keepFree: 0,
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
  const load = before.stop();
  const during = new IndexLoad(index, options, rate);
  await eviction.run(options.evicted * blobSize);
  const measured = during.stop();
  const logMb = statSync(join(directory, "index.db-wal")).size / 2 ** 20;
  index.close();
  await store.close();
  return { load, eviction: { ...measured, evicted, logMb } };
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { quick: { type: "boolean" }, directory: { type: "string" } } });
  const undo: (() => unknown)[] = [];
  const size = values.quick ? quickSize : fullSize;
  try {
    const measured = await run(
      { teardown: (fn) => undo.unshift(fn) },
      { ...size, directory: values.directory },
    );
    console.log(
      JSON.stringify(measured, (_, value) => (typeof value === "number" ? round(value) : value), 2),
    );
  } finally {
    for (const fn of undo) await fn();
  }
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
