// What can be said of a trace in numbers, each as it is said of the recorded one.
import { percentile } from "../statistics.ts";
import { type BlobResource, isBlob, isManifest, type Resource, type Trace } from "./trace.ts";

/** Requests after a manifest's in which a blob of the same repository shows that it was a pull and no poll. */
const pullWindow = 300;

export interface TraceFigures {
  /** Shares of all requests. */
  readonly pings: number;
  readonly blobs: number;
  readonly manifests: number;
  /** Of requests for blobs, what a cache without bound has: keyed by URI, and by digest. */
  readonly hitsByUri: number;
  readonly hitsByDigest: number;
  /** Of digests, those asked for once; of blobs' URIs likewise. */
  readonly digestsOnce: number;
  readonly urisOnce: number;
  /** Of requests for blobs, those for the most popular 0.1, 1, 5, 10, 20, 50 % of URIs. */
  readonly topBlobs: readonly number[];
  /** Of requests for manifests, those for the most popular 1 % of URIs. */
  readonly topManifests: number;
  /** Slope of requests by rank, both as logarithms, of the first 5,000 blobs and of the first 1 % of manifests. */
  readonly blobSlope: number;
  readonly manifestSlope: number;
  /** Of digests, those in several repositories; and of requests for blobs, those for one of them. */
  readonly digestsInSeveral: number;
  readonly requestsInSeveral: number;
  /** Of requests for manifests, those that no blob follows. */
  readonly polls: number;
  /** Requests for blobs from one for a digest to its next: percentiles 10, 25, 50, 75, 90. */
  readonly distances: readonly number[];
  /** Bytes sent for a blob: percentiles 25, 50, 75, 90, 99. */
  readonly sizes: readonly number[];
}

/** Measures a trace. */
export function figuresOf(trace: Trace): TraceFigures {
  const blobs = trace.filter(isBlob);
  const manifests = trace.filter(isManifest);
  const uris = countsOf(blobs, (blob) => blob);
  const digests = countsOf(blobs, ({ content }) => content);
  const manifestCounts = countsOf(manifests, (manifest) => manifest);
  const repositories = new Map<number, Set<number>>();
  for (const { content, repository } of blobs)
    repositories.set(content, (repositories.get(content) ?? new Set()).add(repository));
  const several = (content: number): boolean => (repositories.get(content)?.size ?? 0) > 1;
  const byCount = descending(uris);
  const manifestsByCount = descending(manifestCounts);
  const topPercent = Math.ceil(manifestsByCount.length / 100);
  const distances = distancesOf(blobs);
  const sizes = Float64Array.from(blobs, ({ size }) => size).sort();
  return {
    pings: 1 - (blobs.length + manifests.length) / trace.length,
    blobs: blobs.length / trace.length,
    manifests: manifests.length / trace.length,
    hitsByUri: 1 - uris.size / blobs.length,
    hitsByDigest: 1 - digests.size / blobs.length,
    digestsOnce: share([...digests.values()], (count) => count === 1),
    urisOnce: share(byCount, (count) => count === 1),
    topBlobs: [0.001, 0.01, 0.05, 0.1, 0.2, 0.5].map((part) => topShare(byCount, part * byCount.length)),
    topManifests: topShare(manifestsByCount, topPercent),
    blobSlope: slopeOf(byCount.slice(0, 5_000)),
    manifestSlope: slopeOf(manifestsByCount.slice(0, topPercent)),
    digestsInSeveral: share([...digests.keys()], several),
    requestsInSeveral: share(blobs, ({ content }) => several(content)),
    polls: pollsOf(trace) / manifests.length,
    distances: [10, 25, 50, 75, 90].map((percent) => percentile(distances, percent)),
    sizes: [25, 50, 75, 90, 99].map((percent) => percentile(sizes, percent)),
  };
}

function countsOf<T, K>(values: readonly T[], key: (value: T) => K): Map<K, number> {
  const counts = new Map<K, number>();
  for (const value of values) counts.set(key(value), (counts.get(key(value)) ?? 0) + 1);
  return counts;
}

function descending(counts: ReadonlyMap<unknown, number>): number[] {
  return [...counts.values()].sort((one, other) => other - one);
}

function share<T>(values: readonly T[], which: (value: T) => boolean): number {
  return values.filter(which).length / values.length;
}

function topShare(descendingCounts: readonly number[], count: number): number {
  const sum = (counts: readonly number[]): number => counts.reduce((total, value) => total + value, 0);
  return sum(descendingCounts.slice(0, Math.round(count))) / sum(descendingCounts);
}

/** Least squares over the logarithms of ranks and counts. */
function slopeOf(descendingCounts: readonly number[]): number {
  const points = descendingCounts.map((count, rank) => [Math.log(rank + 1), Math.log(count)] as const);
  const mean = (at: 0 | 1): number => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const over = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return over / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

function distancesOf(blobs: readonly BlobResource[]): Float64Array {
  const last = new Map<number, number>();
  const found: number[] = [];
  blobs.forEach(({ content }, at) => {
    const before = last.get(content);
    if (before !== undefined) found.push(at - before);
    last.set(content, at);
  });
  return Float64Array.from(found).sort();
}

function pollsOf(trace: Trace): number {
  // From the end: where the next blob of each repository is.
  const next = new Map<number, number>();
  let count = 0;
  for (let at = trace.length - 1; at >= 0; at--) {
    const resource: Resource | undefined = trace[at];
    if (resource === undefined || resource.kind === "ping") continue;
    if (isBlob(resource)) next.set(resource.repository, at);
    else if ((next.get(resource.repository) ?? Number.POSITIVE_INFINITY) - at > pullWindow) count += 1;
  }
  return count;
}
