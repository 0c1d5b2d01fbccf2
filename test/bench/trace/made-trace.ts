// A trace with the figures of the one that was recorded in a production registry of IBM in 2017 (Anwar et al., FAST'18; the
// figures are of 725,242 of its GETs in their true order). Its statistics are reproduced, its lines are not: whose licence
// is not stated. trace-figures.ts measures them, test/bench/trace/made-trace.test.ts fixes how near they are.
import { SeededRandom } from "../../fixtures/seeded-random.ts";
import { type BlobResource, type ManifestResource, ping, type Resource, type Trace } from "./trace.ts";

/** Requests of the recorded order. What depends on the length of an order is scaled from there. */
export const recordedLength = 725_242;

/** Shares of all requests; the rest are pings. */
const blobRequests = 0.358;
const manifestRequests = 0.183;
/** Of the requests for manifests, those that no request for a blob follows. */
const polls = 0.79;
/** URIs for each request of their kind. */
const blobUris = 0.418;
const manifestUris = 0.0979;
const repositoriesPerManifest = 0.681;

/** Of the blobs' URIs: share of all requests (second) that the most popular ones (first, a share of them) get. */
const popularity: readonly (readonly [number, number])[] = [
  [0.001, 0.31],
  [0.01, 0.43],
  [0.05, 0.53],
  [0.1, 0.59],
  [0.2, 0.67],
  [0.5, 0.79],
  [1, 1],
];
/** How the share of the most popular ones falls among themselves. */
const headExponent = 0.3;

/** Blobs of an image: mean 9.3, dealt out in turn so that popular images are of all sizes. */
const blobsOfImages = [9, 7, 13, 9, 5, 15, 9, 11, 4, 12, 8, 10, 9];

/** Of the blobs of images pulled once, and of the others, those that other repositories have too; and in how many. */
const sharedOnce = 0.37;
const sharedOften = 0.26;
const repositoriesOfShared = 3.37;
/** How far apart such images are pulled first, as a power of the length of the order. */
const apart = 0.86;

/**
 * Requests between two pulls of an image, as powers of the length of the order: the quantile (first) is the length to the
 * power of (second). Short distances are those of a roll-out: a fleet pulls what has just been pushed.
 */
const distances: readonly (readonly [number, number])[] = [
  [0, 0.2],
  [0.1, 0.37],
  [0.25, 0.53],
  [0.5, 0.73],
  [0.75, 0.845],
  [0.9, 0.905],
  [1, 0.98],
];

/** Multiples of it fall evenly over 0 to 1, whatever part of them is taken. */
const goldenRatio = 0.618_033_988_749_895;
/** Where they begin: so that the most popular images, few as they are, have layers of the mean size. */
const firstQuantile = 0.95;

/** Requests between those of one pull, on average. */
const pace = 6;

/** Popularity of what is polled, by rank; and how many polled URIs take all but the last hundredth of the polls. */
const pollExponent = 1.06;
const oftenPolled = 0.0092;

/** Bytes of a blob by quantile, of the same registry (region dal09). */
const sizes: readonly (readonly [number, number])[] = [
  [0, 100],
  [0.05, 130],
  [0.25, 1_100],
  [0.5, 11_000],
  [0.65, 650_000],
  [0.75, 3_300_000],
  [0.8, 9_400_000],
  [0.9, 35_000_000],
  [0.95, 54_000_000],
  [0.99, 118_000_000],
  [1, 690_000_000],
];

export interface MadeTraceOptions {
  /** About so many requests. */
  readonly length: number;
  /** The same for the same order. */
  readonly seed?: number;
}

/** What is pulled together. */
interface Image {
  /** When it is pulled: requests after the first. */
  readonly times: readonly number[];
  readonly repository: number;
  readonly manifest: ManifestResource;
  readonly blobs: BlobResource[];
}

interface Asked {
  /** When: a number of requests after the first. */
  readonly at: number;
  readonly resource: Resource;
}

/** Makes an order of requests. */
export function makeTrace({ length, seed = 1 }: MadeTraceOptions): Trace {
  const seeded = new SeededRandom(seed);
  const random = (): number => seeded.next();
  const images = makeImages(length, random);
  const asked = images.flatMap((image) => pullsOf(image, random));
  asked.push(...pollsOf(length, images, random));
  const pings = Math.round(asked.length / (blobRequests + manifestRequests)) - asked.length;
  for (let made = 0; made < pings; made++) asked.push({ at: random() * length, resource: ping });
  return asked.toSorted((one, other) => one.at - other.at).map(({ resource }) => resource);
}

/** The most popular first. */
function makeImages(length: number, random: () => number): readonly Image[] {
  const uris = length * blobRequests * blobUris;
  const count = Math.round(uris / mean(blobsOfImages));
  const pulls = (length * blobRequests) / mean(blobsOfImages);
  const repositories = Math.round(count * repositoriesPerManifest);
  const images: Image[] = [];
  let owed = 0;
  for (let rank = 0; rank < count; rank++) {
    owed += pulls * (shareOfTop((rank + 1) / count) - shareOfTop(rank / count));
    const own = Math.max(1, Math.round(owed));
    owed -= own;
    const repository = Math.floor(random() * repositories);
    const blobs: BlobResource[] = [];
    const manifest: ManifestResource = { kind: "manifest", repository, reference: `v${rank}`, blobs };
    images.push({ times: timesOf(own, length, random), repository, manifest, blobs });
  }
  giveBlobs(images, length, random);
  return images;
}

/** Gives each image its blobs: contents of its own, and such that others have too, pulled at about the same time. */
function giveBlobs(images: readonly Image[], length: number, random: () => number): void {
  let contents = 0;
  const places: { readonly image: Image; readonly at: number }[] = [];
  images.forEach((image, rank) => {
    const part = image.times.length === 1 ? sharedOnce : sharedOften;
    for (let made = blobsOfImages[rank % blobsOfImages.length] ?? 0; made > 0; made--)
      if (random() >= part) image.blobs.push(blobOf(image, contents++));
      else places.push({ image, at: (image.times[0] ?? 0) + random() * length ** apart });
  });
  places.sort((one, other) => one.at - other.at);
  while (places.length > 0) {
    const content = contents++;
    // At least two, few have many.
    const count = 2 + Math.floor(-Math.log(1 - random()) * (repositoriesOfShared - 1.5));
    for (const { image } of places.splice(-count))
      if (image.blobs.every((blob) => blob.content !== content)) image.blobs.push(blobOf(image, content));
  }
}

function blobOf({ repository }: Image, content: number): BlobResource {
  return { kind: "blob", repository, content, size: drawnSize(content) };
}

/** Every pull of an image: its manifest, then its blobs, among other clients' requests. */
function pullsOf(image: Image, random: () => number): readonly Asked[] {
  return image.times.flatMap((start) => {
    let at = start;
    return [image.manifest, ...image.blobs].map((resource) => {
      const asked = { at, resource };
      at += pace * 2 * random();
      return asked;
    });
  });
}

/** When an image is pulled: distances as recorded, shortened for one that is pulled too often for them. */
function timesOf(pulls: number, length: number, random: () => number): readonly number[] {
  const powers = Array.from({ length: pulls - 1 }, () => interpolated(distances, random()));
  const longest = length * (0.6 + 0.4 * random());
  const spanAt = (scale: number): number => powers.reduce((sum, power) => sum + length ** (power * scale), 0);
  let scale = 1;
  if (spanAt(scale) > longest) {
    let low = 0;
    for (let high = 1, step = 0; step < 40; step++) {
      scale = (low + high) / 2;
      if (spanAt(scale) > longest) high = scale;
      else low = scale;
    }
  }
  let at = random() * (length - spanAt(scale));
  return [0, ...powers.map((power) => length ** (power * scale))].map((distance) => {
    at += distance;
    return at;
  });
}

/** Requests for manifests of which the client has everything: each name at its own steady pace, in repositories nobody pulls from. */
function pollsOf(length: number, images: readonly Image[], random: () => number): readonly Asked[] {
  const count = Math.round(length * manifestRequests * polls);
  const uris = Math.max(2, Math.round(length * manifestRequests * manifestUris) - images.length);
  const often = Math.min(uris - 1, Math.max(1, Math.round(oftenPolled * (uris + images.length))));
  const seldom = uris - often;
  const weights = Array.from({ length: often }, (_, rank) => (rank + 1) ** -pollExponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const first = Math.round(images.length * repositoriesPerManifest);
  const counts = weights.map((weight) => Math.round(((count - seldom) * weight) / total));
  return [...counts, ...Array.from({ length: seldom }, () => 1)].flatMap((times, rank) => {
    // About half of all requests for manifests are for this name.
    const reference = rank % 5 < 3 ? "latest" : `v${rank}`;
    const resource: ManifestResource = { kind: "manifest", repository: first + rank, reference };
    return Array.from({ length: times }, (_, at) => ({ at: ((at + random()) * length) / times, resource }));
  });
}

/**
 * Bytes of a content, by its number. Independent of popularity: successive contents, which are of images one as popular as the next, are of all sizes.
 */
export function drawnSize(content: number): number {
  const quantile = (firstQuantile + content * goldenRatio) % 1;
  const [from, to] = around(sizes, quantile);
  const part = (quantile - from[0]) / (to[0] - from[0]);
  return Math.round(from[1] * (to[1] / from[1]) ** part);
}

/** The share of all requests that the most popular images get, of which there are this share. */
function shareOfTop(part: number): number {
  const [[firstPart, firstShare]] = popularity as [[number, number]];
  if (part <= firstPart) return firstShare * (part / firstPart) ** headExponent;
  const [from, to] = around(popularity, part);
  const exponent = Math.log(to[1] / from[1]) / Math.log(to[0] / from[0]);
  return from[1] * (part / from[0]) ** exponent;
}

type Point = readonly [number, number];

/** The two points between which it lies. */
function around(points: readonly Point[], at: number): readonly [Point, Point] {
  const next = Math.max(
    1,
    points.findIndex(([place]) => place >= at),
  );
  return [points[next - 1], points[next]] as [Point, Point];
}

function interpolated(points: readonly Point[], at: number): number {
  const [from, to] = around(points, at);
  return from[1] + ((to[1] - from[1]) * (at - from[0])) / (to[0] - from[0]);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
