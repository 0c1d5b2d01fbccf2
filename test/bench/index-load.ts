// What requests do to the index, at a steady rate in the process that measures, and how long each look-up takes.
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { SqliteIndex } from "../../src/storage/index/sqlite-index.ts";
import { blobDigest, blobSize, repositoryOf, tagOf, upstreamName } from "./large-index.ts";
import { percentile } from "./statistics.ts";

/** Milliseconds between two rounds of calls. */
const interval = 2;
/** The histogram's own sample time, which every sample has in it, in milliseconds. */
const resolution = 1;

/** Calls of one round. */
export interface LoadRate {
  readonly lookups: number;
  readonly tags: number;
  readonly links: number;
  readonly touches: number;
  readonly adds: number;
}

/** In milliseconds. */
export interface LoadMeasurement {
  readonly lookupP99Ms: number;
  /** How late the event loop was at most. */
  readonly loopMaxMs: number;
}

export class IndexLoad {
  readonly #index: SqliteIndex;
  readonly #size: { readonly blobs: number; readonly tags: number };
  readonly #rate: LoadRate;
  readonly #loop = monitorEventLoopDelay({ resolution });
  readonly #times: number[] = [];
  readonly #timer: NodeJS.Timeout;
  #written: Promise<unknown> = Promise.resolve();
  #late = 0;
  #due = 0;

  /** Calls begin at once. */
  constructor(index: SqliteIndex, size: { readonly blobs: number; readonly tags: number }, rate: LoadRate) {
    this.#index = index;
    this.#size = size;
    this.#rate = rate;
    this.#loop.enable();
    this.#due = performance.now() + interval;
    this.#timer = setInterval(() => this.#calls(), interval);
  }

  /** Resolves when what it has asked for is done: writes wait for a removal of many rows. */
  async stop(): Promise<LoadMeasurement> {
    clearInterval(this.#timer);
    this.#loop.disable();
    const measured = {
      lookupP99Ms: percentile(Float64Array.from(this.#times).sort(), 99),
      loopMaxMs: Math.max(this.#late, this.#loop.max / 1e6 - resolution),
    };
    await this.#written;
    return measured;
  }

  /** What was not called in time is left out, not made up for: late calls would make each other late. */
  #calls(): void {
    const now = performance.now();
    this.#late = Math.max(this.#late, now - this.#due);
    this.#due = now + interval;
    const { lookups, tags, links, touches, adds } = this.#rate;
    for (let i = 0; i < lookups; i++) this.#lookUp();
    for (let i = 0; i < tags; i++) this.#putTag();
    for (let i = 0; i < links; i++) this.#addLink();
    for (let i = 0; i < touches; i++) this.#index.blobs.touch(this.#recent(), Date.now());
    // Beyond what was there at first, so that it is new.
    for (let i = 0; i < adds; i++)
      this.#index.blobs.add(
        blobDigest(this.#size.blobs + Math.floor(Math.random() * 1e12)),
        blobSize,
        undefined,
        Date.now(),
      );
  }

  /** Not one of the longest unused, which an eviction pass is to find. */
  #recent() {
    return blobDigest(Math.floor(this.#size.blobs * (0.5 + Math.random() / 2)));
  }

  /** What one request asks: the tag, whether the repository has the blob, and the blob. */
  #lookUp(): void {
    const at = Math.floor(Math.random() * this.#size.blobs);
    const digest = blobDigest(at);
    const { repository, tag } = tagOf(at % this.#size.tags);
    const start = performance.now();
    void this.#index.tags.get({ upstream: upstreamName, repository }, tag);
    void this.#index.links.has({ upstream: upstreamName, repository: repositoryOf(at) }, digest);
    this.#index.blobs.get(digest);
    this.#times.push(performance.now() - start);
  }

  #putTag(): void {
    const at = Math.floor(Math.random() * this.#size.tags);
    const { repository, tag } = tagOf(at);
    const record = { digest: this.#recent(), mediaType: "application/json", size: 1, checkedAt: Date.now() };
    this.#write(this.#index.tags.put({ upstream: upstreamName, repository }, tag, record));
  }

  #addLink(): void {
    const digest = blobDigest(Math.floor(Math.random() * this.#size.blobs));
    const repository = repositoryOf(Math.floor(Math.random() * this.#size.blobs));
    this.#write(this.#index.links.add({ upstream: upstreamName, repository }, [{ digest, size: blobSize }]));
  }

  #write(write: Promise<unknown>): void {
    this.#written = Promise.all([this.#written, write]);
  }
}
