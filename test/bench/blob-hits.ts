// Blobs the mirror has: one large download after another, and many tiny ones.
import { makeImage } from "../fixtures/images.ts";
import { Content } from "../system/fixtures/content.ts";
import { costOf } from "./cost.ts";
import { repositoryOf } from "./far-content.ts";
import type { FarRegistry } from "./far-registry.ts";
import type { Peer } from "./peer.ts";
import { drainBlob, type ExpectedBlob, fetchesOf, land, pull } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import type { Server } from "./server.ts";
import { gigabyte, mebibyte, sizeText } from "./size.ts";
import { wrk } from "./wrk.ts";

const name = "bench/blobs";
const image = makeImage({ seed: "blob hits", layers: [] });
const smallCount = 100;

/** Blobs of one size, pulled one after another. */
interface Large {
  readonly id: string;
  readonly size: number;
  readonly pulls: number;
  /** The aim against nginx's CPU time. */
  readonly mostOfNginx: number;
}

export function blobHits({ quick }: Scale): Scenario {
  const large: readonly Large[] = quick
    ? [{ id: "large", size: 8 * mebibyte, pulls: 4, mostOfNginx: 1.4 }]
    : [
        { id: "large", size: 64 * mebibyte, pulls: 16, mostOfNginx: 1.4 },
        { id: "huge", size: 1024 * mebibyte, pulls: 1, mostOfNginx: 1.6 },
      ];
  return {
    name: "blob-hits",
    title: "Blob hits",
    programs: ["wrk"],
    measures: [...large.flatMap(measuresOf), ...smallMeasures],
    async run(round) {
      const contents = large.map(({ id, size }) => new Content(id, size));
      const small = Array.from({ length: smallCount }, (_, at) => new Content(`small ${at}`, 1024));
      const far = await round.startFar([repositoryOf(name, "1", image, [...contents, ...small])]);
      const samples: Sample[] = [];
      for (const peer of round.peers) {
        const server = await round.startPeer(peer, far.url);
        const values = await hitSmall(round, server, small.map(expected), quick ? 1 : 3);
        for (const [at, { id, pulls }] of large.entries())
          Object.assign(
            values,
            await hitLarge(round, { server, peer, far }, id, expected(contents[at] as Content), pulls),
          );
        samples.push(...samplesOf(peer.name, values));
        await server.stop();
      }
      return samples;
    },
  };
}

const smallMeasures: readonly Measure[] = [
  {
    id: "small-rate",
    title: `${smallCount} blobs of 1 KiB, 32 connections`,
    unit: "requests/s",
    targets: [{ against: "Distribution", atLeast: 10 }],
  },
  { id: "small-cpu", title: `${smallCount} blobs of 1 KiB`, unit: "CPU µs/request" },
];

function measuresOf({ id, size, mostOfNginx }: Large): readonly Measure[] {
  const title = `Blob hit of ${sizeText(size)}`;
  return [
    {
      id: `${id}-cpu`,
      title,
      unit: "CPU s/GB",
      targets: [
        { against: "Distribution", atMost: 0.85 },
        { against: "nginx", atMost: mostOfNginx },
      ],
    },
    { id: `${id}-rate`, title, unit: "GB/s" },
  ];
}

function expected({ digest, size }: Content): ExpectedBlob {
  return { path: `/v2/${name}/blobs/${digest}`, digest, size };
}

async function hitSmall(round: Round, server: Server, blobs: readonly ExpectedBlob[], seconds: number) {
  for (const blob of blobs) await pull(round, server, blob.path, blob);
  const paths = blobs.map(({ path }) => path) as [string, ...string[]];
  const full = (time: number) => wrk({ base: server.url, paths, seconds: time, place: round.places.load });
  await full(1);
  const { result, cpuSeconds } = await costOf([server], () => full(seconds));
  round.equal(`failed requests of ${server.name} for small blobs`, result.failed, 0);
  round.within(`bytes of ${server.name} for a small blob`, result.bytes / result.requests, 1024, 4096);
  const values: Record<string, number> = {};
  values["small-rate"] = result.perSecond;
  values["small-cpu"] = (cpuSeconds / result.requests) * 1e6;
  return values;
}

async function hitLarge(
  round: Round,
  { server, peer, far }: { readonly server: Server; readonly peer: Peer; readonly far: FarRegistry },
  id: string,
  blob: ExpectedBlob,
  pulls: number,
): Promise<Record<string, number>> {
  const before = (await far.asked()).length;
  await land(round, server, far, blob);
  const { seconds, cpuSeconds } = await costOf([server], async () => {
    for (let count = 0; count < pulls; count++) await drainBlob(round, server, blob);
  });
  const fetched = fetchesOf(await far.asked(before), blob).bytes;
  if (peer.name === ours) round.within(`upstream's bytes of ${blob.path}`, fetched / blob.size, 1, 1.02);
  const gigabytes = (blob.size * pulls) / gigabyte;
  return { [`${id}-cpu`]: cpuSeconds / gigabytes, [`${id}-rate`]: gigabytes / seconds };
}
