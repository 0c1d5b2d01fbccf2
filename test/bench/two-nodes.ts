// Two mirrors behind HAProxy against one behind it. On two cores the clients and HAProxy take their part of them, so
// that two nodes cannot show twice the requests a second; what each costs a node's core is what counts for machines
// that are theirs alone: requests per second of processor time of the mirrors, times the number of nodes.
import { type Image, makeImage } from "../fixtures/images.ts";
import { Content } from "../system/fixtures/content.ts";
import { startBalancer } from "./balancer.ts";
import { type Cost, costOf } from "./cost.ts";
import { repositoryOf } from "./far-content.ts";
import type { FarRegistry } from "./far-registry.ts";
import { entrepot } from "./peer.ts";
import type { Place } from "./place.ts";
import { drainBlob, type ExpectedBlob, fetchesOf, pull, pullBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import type { Server } from "./server.ts";
import { gigabyte, mebibyte } from "./size.ts";
import { wrk } from "./wrk.ts";

/** Enough that either node gets about half of them. */
const repositoryCount = 64;
const blobCount = 32;
/** Downloads at once. */
const width = 8;

interface Sizes {
  readonly seconds: number;
  readonly blob: number;
  /** Times each blob is pulled. */
  readonly pulls: number;
}

interface Wanted {
  readonly manifests: readonly { readonly path: string; readonly image: Image }[];
  readonly blobs: readonly ExpectedBlob[];
}

export function twoNodes({ quick }: Scale): Scenario {
  const sizes: Sizes = quick
    ? { seconds: 1, blob: 1 * mebibyte, pulls: 1 }
    : { seconds: 2, blob: 8 * mebibyte, pulls: 8 };
  return {
    name: "two-nodes",
    title: "Two nodes behind HAProxy against one behind it",
    programs: ["wrk", "haproxy"],
    measures: [...measuresOf("manifest", "Cached manifest"), ...measuresOf("blob", "Blob hits")],
    async run(round) {
      const { wanted, content } = makeContent(sizes.blob);
      const far = await round.startFar(content);
      const one = await measure(round, far, 1, wanted, sizes);
      const two = await measure(round, far, 2, wanted, sizes);
      return (["manifest", "blob"] as const).flatMap((what) => comparisonOf(what, one[what], two[what]));
    },
  };
}

function measuresOf(what: "manifest" | "blob", title: string): readonly Measure[] {
  const [rate, cpu] =
    what === "manifest" ? (["requests/s", "CPU µs/request"] as const) : (["GB/s", "CPU s/GB"] as const);
  return [
    { id: `${what}-one-rate`, title: `${title}, one node`, unit: rate },
    { id: `${what}-two-rate`, title: `${title}, two nodes`, unit: rate },
    { id: `${what}-one-cpu`, title: `${title}, one node`, unit: cpu },
    { id: `${what}-two-cpu`, title: `${title}, two nodes together`, unit: cpu },
    {
      id: `${what}-gain`,
      title: `${title}, two nodes against one: work per second of mirrors' CPU, times nodes`,
      unit: "×",
      targets: [{ atLeast: 1.7 }],
    },
  ];
}

/** Work of one kind: its rate, and CPU seconds for one unit of it. */
interface Figures {
  readonly rate: number;
  readonly cpu: number;
}

function comparisonOf(what: "manifest" | "blob", one: Figures, two: Figures): Sample[] {
  const unit = what === "manifest" ? 1e6 : 1;
  const values = {
    "one-rate": one.rate,
    "two-rate": two.rate,
    "one-cpu": one.cpu * unit,
    "two-cpu": two.cpu * unit,
    gain: (2 * one.cpu) / two.cpu,
  };
  return samplesOf(ours, values, (name) => `${what}-${name}`);
}

function makeContent(blobSize: number) {
  const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);
  const images = numbers(repositoryCount).map((at) => {
    const image = makeImage({ seed: `two nodes ${at}`, layers: Array.from({ length: 8 }, () => 64) });
    return { name: `bench/nodes-${at}`, image };
  });
  const blobs = numbers(blobCount).map((at) => new Content(`two nodes ${at}`, blobSize));
  const wanted: Wanted = {
    manifests: images.map(({ name, image }) => ({ path: `/v2/${name}/manifests/${image.digest}`, image })),
    blobs: blobs.map(({ digest, size }) => ({ path: `/v2/bench/nodes-0/blobs/${digest}`, digest, size })),
  };
  const content = images.map(({ name, image }, at) => repositoryOf(name, "1", image, at === 0 ? blobs : []));
  return { wanted, content };
}

async function measure(round: Round, far: FarRegistry, count: 1 | 2, wanted: Wanted, sizes: Sizes) {
  const nodes: Server[] = [];
  for (const place of round.places.mirrors.slice(0, count))
    nodes.push(await round.startPeer(entrepot, far.url, place));
  const load = count === 1 ? round.places.load : round.places.loadBesideTwo;
  const balancer = await round.stopping(
    startBalancer({
      nodes: nodes.map(({ url }) => url),
      directory: await round.directory(),
      place: load,
    }),
  );
  const before = (await far.asked()).length;
  for (const { path, image } of wanted.manifests) await pull(round, balancer, path, image);
  for (const blob of wanted.blobs) await pullBlob(round, balancer, blob);
  const manifest = await hitManifests(round, { balancer, nodes, load }, wanted, sizes.seconds);
  const blob = await hitBlobs(round, { balancer, nodes }, wanted, sizes);
  const fetched = fetchesOf(await far.asked(before), ...wanted.blobs).bytes;
  round.within(`upstream's bytes for ${count} nodes`, fetched / (sizes.blob * blobCount), 1, 1.02);
  for (const server of [balancer, ...nodes]) await server.stop();
  return { manifest, blob };
}

async function hitManifests(
  round: Round,
  { balancer, nodes, load }: { balancer: Server; nodes: readonly Server[]; load: Place },
  wanted: Wanted,
  seconds: number,
): Promise<Figures> {
  const paths = wanted.manifests.map(({ path }) => path) as [string, ...string[]];
  const options = { base: balancer.url, paths, accept: wanted.manifests[0]?.image.mediaType ?? "*/*" };
  const full = (time: number) => wrk({ ...options, seconds: time, place: load });
  // So that each of two warms up on as many requests as one alone.
  await full(seconds * nodes.length);
  const { result, cpuSeconds } = await costOf(nodes, () => full(seconds));
  round.equal("failed requests behind HAProxy", result.failed, 0);
  return { rate: result.perSecond, cpu: cpuSeconds / result.requests };
}

async function hitBlobs(
  round: Round,
  { balancer, nodes }: { balancer: Server; nodes: readonly Server[] },
  { blobs }: Wanted,
  { blob: size, pulls }: Sizes,
): Promise<Figures> {
  const queue = Array.from({ length: pulls }, () => blobs).flat();
  const client = async (): Promise<void> => {
    for (let blob = queue.pop(); blob !== undefined; blob = queue.pop())
      await drainBlob(round, balancer, blob);
  };
  const gigabytes = (queue.length * size) / gigabyte;
  const { seconds, cpuSeconds }: Cost<unknown> = await costOf(nodes, () =>
    Promise.all(Array.from({ length: width }, client)),
  );
  return { rate: gigabytes / seconds, cpu: cpuSeconds / gigabytes };
}
