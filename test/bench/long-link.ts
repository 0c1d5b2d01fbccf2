// Cold layers over 100 Mbit/s and 40 ms there and back, without and with loss: one TCP stream does not fill such a link. And
// over 100 ms without loss, where one does once it has started.
import { type Content, type Image, makeImage } from "../fixtures/images.ts";
import { startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { startFarRegistry } from "./far-registry.ts";
import { type ColdLayer, type Measured, type Puller, pullCold, type Site } from "./long-link-pull.ts";
import { type LinkShape, longLinkMissing, startLongLinkRig } from "./long-link-rig.ts";
import type { Round } from "./round.ts";
import {
  type Measure,
  ours,
  type Sample,
  type Scale,
  type Scenario,
  samplesOf,
  type Target,
} from "./scenario.ts";
import { gigabyte, mebibyte, sizeText } from "./size.ts";

/** Each has one image of one layer: of an image with more the next ones would be fetched ahead. */
const repositoryOfLayer = (at: number): string => `bench/long-${at}`;
const link = { mbit: 100, roundTrip: 40 };
const farLink = { ...link, roundTrip: 100 };
/** Milliseconds: asking and being answered takes one round trip; opening a connection first would take another. */
const firstByteLimit = 2 * link.roundTrip;
/** How much more than a blob may be fetched for it: what a range given up midway may cost. */
const mostBytes = 1.02;
/** The same over `farLink`, which has up to 1.25 MB under way and 1 MiB in its queue. */
const mostFarBytes = 1.05;

const direct: Puller = { name: "direct" };
/** What the ranges are worth: the same mirror without them. */
const oneSegment: Puller = {
  name: "one segment",
  start: (options) => startEntrepot({ ...options, env: { ENTREPOT_UPSTREAM_SEGMENTS: "1" } }),
};

/** One loss, in percent, and what is asked of a layer pulled at it. */
interface Condition {
  readonly id: string;
  readonly loss: number;
  readonly targets: readonly Target[];
  /** One stream does so little here that those who use one pull side by side, each over a link of its own. */
  readonly trickle: boolean;
  /** Also a large layer. */
  readonly large: boolean;
}

const conditions: readonly Condition[] = [
  {
    id: "clean",
    loss: 0,
    targets: ["direct", "Distribution", "nginx", "one segment"].map((against) => ({ against, atMost: 1.05 })),
    trickle: false,
    large: true,
  },
  {
    id: "loss-0.1",
    loss: 0.1,
    targets: [{ against: "Distribution", atMost: 1 / 2 }],
    trickle: false,
    large: false,
  },
  {
    id: "loss-1",
    loss: 1,
    targets: [{ against: "Distribution", atMost: 1 / 5 }],
    trickle: true,
    large: false,
  },
];

/** Sizes of the two layers each mirror pulls one after the other, of the large one, and of that over `farLink`; in bytes. */
interface Sizes {
  readonly layer: number;
  readonly large: number;
  readonly far: number;
}

interface Layers {
  readonly first: ColdLayer;
  /** Pulled when the mirror has learnt from the first. */
  readonly second: ColdLayer;
  readonly large: ColdLayer;
  readonly far: ColdLayer;
}

export function longLink({ quick }: Scale): Scenario {
  const sizes = quick
    ? { layer: 4 * mebibyte, large: 64 * 1024, far: 64 * 1024 }
    : { layer: 16 * mebibyte, large: 100 * mebibyte, far: 64 * mebibyte };
  const chosen = quick ? conditions.filter(({ id }) => id === "loss-0.1") : conditions;
  return {
    name: "long-link",
    title: `Cold ${sizeText(sizes.layer)} over ${link.mbit} Mbit/s and ${link.roundTrip} ms there and back`,
    measures: [
      ...chosen.flatMap((condition) => measuresOf(condition, sizes)),
      ...(quick ? [] : farMeasures(sizes)),
    ],
    unable: longLinkMissing,
    // A round waits four minutes for the link; which packets it loses is the same in every run.
    mostRounds: 3,
    async run(round) {
      const { site, layers } = await startSite(round, sizes);
      const samples: Sample[] = [];
      for (const condition of chosen)
        samples.push(...(await (quick ? countsAt : timesAt)(site, condition, layers)));
      if (!quick) samples.push(...(await timesFar(site, layers)));
      return samples;
    },
  };
}

function measuresOf({ id, loss, targets, large }: Condition, sizes: Sizes): readonly Measure[] {
  const where = loss === 0 ? "clean link" : `${loss} % lost`;
  const measures: readonly Measure[] = [
    { id: `${id}-wall`, title: where, unit: "s", targets },
    { id: `${id}-second`, title: `${where}: the next layer`, unit: "s" },
    {
      id: `${id}-first-byte`,
      title: `${where}: first byte`,
      unit: "ms",
      targets: [{ atMost: firstByteLimit }],
    },
    {
      id: `${id}-second-first-byte`,
      title: `${where}: the next layer's first byte`,
      unit: "ms",
      targets: [{ atMost: firstByteLimit }],
    },
    { id: `${id}-requests`, title: `${where}: upstream's requests`, unit: "requests" },
    {
      id: `${id}-bytes`,
      title: `${where}: bytes over the link per byte`,
      unit: "×",
      targets: [{ atMost: mostBytes }],
    },
    // More than crossed the link when a request is given up: what upstream's kernel still had to send is counted.
    { id: `${id}-sent`, title: `${where}: upstream's bytes per byte, by its log`, unit: "×" },
  ];
  if (!large) return measures;
  return [
    ...measures,
    {
      id: `${id}-large`,
      title: `${where}: ${sizeText(sizes.large)}`,
      unit: "s",
      targets: [{ against: "direct", atMost: 1.03 }],
    },
    { id: `${id}-cpu`, title: `${where}: all layers`, unit: "CPU s/GB" },
  ];
}

function farMeasures({ far }: Sizes): readonly Measure[] {
  const title = `${sizeText(far)}, ${farLink.roundTrip} ms`;
  return [
    { id: "far-wall", title, unit: "s", targets: [{ against: "direct", atMost: 1.05 }] },
    { id: "far-requests", title: `${title}: upstream's requests`, unit: "requests" },
  ];
}

async function startSite(round: Round, sizes: Sizes): Promise<{ site: Site; layers: Layers }> {
  const images = [sizes.layer, sizes.layer, sizes.large, sizes.far].map((size, at) =>
    makeImage({ seed: `long link ${at}`, layers: [size] }),
  );
  const rig = startLongLinkRig(round);
  const far = await round.stopping(
    startFarRegistry({
      content: images.map((image, at) => repositoryOf(repositoryOfLayer(at), "1", image)),
      directory: await round.directory(),
      place: rig.far,
    }),
  );
  const layer = (at: number): ColdLayer => {
    const [{ digest, bytes }] = (images[at] as Image).layers as [Content];
    const base = `/v2/${repositoryOfLayer(at)}`;
    return {
      manifest: `${base}/manifests/1`,
      path: `${base}/blobs/${digest}`,
      digest,
      size: bytes.length,
    };
  };
  const mirrorPrefix = round.places.mirrors[0].prefix;
  return {
    site: { round, rig, far, mirrorPrefix },
    layers: { first: layer(0), second: layer(1), large: layer(2), far: layer(3) },
  };
}

/** With --quick: one layer through each mirror, and no times. */
async function countsAt(site: Site, condition: Condition, { first }: Layers): Promise<readonly Sample[]> {
  const { round } = site;
  const samples: Sample[] = [];
  for (const peer of round.peers) {
    const measured = await pullCold(site, peer, shapeAt(round, condition), [first]);
    samples.push(...checkedSamples(round, condition, peer, measured));
  }
  return samples.filter(({ measure }) => /-(requests|bytes|sent)$/.test(measure));
}

async function timesAt(
  site: Site,
  condition: Condition,
  { first, second, large }: Layers,
): Promise<readonly Sample[]> {
  const { round } = site;
  const measure = async (puller: Puller): Promise<readonly Sample[]> => {
    const alone = puller.name === ours;
    const layers = [
      first,
      ...(condition.trickle && !alone ? [] : [second]),
      ...(condition.large && puller !== oneSegment ? [large] : []),
    ];
    const measured = await pullCold(site, puller, shapeAt(round, condition), layers);
    return checkedSamples(round, condition, puller, measured);
  };
  const pullers: readonly Puller[] = [...round.peers, oneSegment, direct];
  const samples: (readonly Sample[])[] = [];
  for (const puller of pullers) {
    if (!condition.trickle || puller.name === ours) samples.push(await measure(puller));
  }
  if (condition.trickle) {
    const others = pullers.filter(({ name }) => name !== ours);
    samples.push(...(await Promise.all(others.map(measure))));
  }
  return samples.flat();
}

/** One layer through each mirror, and without one. */
async function timesFar(site: Site, { far }: Layers): Promise<readonly Sample[]> {
  const { round } = site;
  const samples: Sample[] = [];
  for (const puller of [...round.peers, direct]) {
    const shape = { ...farLink, loss: 0, seed: round.number };
    const { pulls, link } = await pullCold(site, puller, shape, [far]);
    const [pulled] = pulls;
    if (puller.name === ours)
      round.within("bytes over the link per byte, 100 ms", link.down.payload / far.size, 1, mostFarBytes);
    const values = { wall: pulled && pulled.wall / 1000, requests: pulled?.requests };
    samples.push(...samplesOf(puller.name, values, (measure) => `far-${measure}`));
  }
  return samples;
}

/** Each round loses other packets, and in each round all lose the same. */
function shapeAt(round: Round, { loss }: Condition): LinkShape {
  return { ...link, loss, seed: round.number };
}

/** Checks that the link has lost something or nothing, as it should, and what our mirror has fetched over it. */
function checkedSamples(
  round: Round,
  { id, loss }: Condition,
  { name }: Puller,
  { pulls, cpuSeconds, link: { down } }: Measured,
): readonly Sample[] {
  round.within(`packets lost at ${id}, ${name}`, down.lost, Math.sign(loss), loss * down.packets);
  const total = pulls.reduce((sum, { layer }) => sum + layer.size, 0);
  // With heads, the manifest, and what TCP sends twice: less than 0.5 % more.
  const crossed = down.payload / total;
  if (name === ours || name === oneSegment.name)
    round.within(`bytes over the link per byte at ${id}, ${name}`, crossed, 1, mostBytes);
  const [first, second, large] = pulls;
  const values = {
    wall: first && first.wall / 1000,
    second: second && second.wall / 1000,
    "first-byte": first?.firstByte,
    "second-first-byte": second?.firstByte,
    requests: first?.requests,
    bytes: crossed,
    sent: pulls.reduce((sum, { upstreamBytes }) => sum + upstreamBytes, 0) / total,
    large: large && large.wall / 1000,
    // Not of who pulled less: what a first request costs once would weigh more.
    cpu: large && cpuSeconds && cpuSeconds / (total / gigabyte),
  };
  return samplesOf(name, values, (measure) => `${id}-${measure}`);
}
