// One machine with more and more cores: as many workers, worker processes of nginx and threads of Distribution as the servers
// have. Clients and upstream get the cores that are left, and share all of them when none is: then a server that costs its
// clients little has more of the machine.
import { type Image, makeImage } from "../fixtures/images.ts";
import { Content } from "../system/fixtures/content.ts";
import { atRest, costOf } from "./cost.ts";
import { discard } from "./discarding-client.ts";
import { repositoryOf } from "./far-content.ts";
import type { FarRegistry } from "./far-registry.ts";
import { hitBlobs, hitManifests } from "./hits.ts";
import type { Peer } from "./peer.ts";
import type { Place } from "./place.ts";
import { type ExpectedBlob, fetchesOf, land, pull } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import type { Server } from "./server.ts";
import { gigabyte, mebibyte, sizeText } from "./size.ts";

const name = "bench/processes";
const image = makeImage({ seed: "several processes", layers: Array.from({ length: 8 }, () => 64) });
/** Downloads at once. */
const width = 8;
const coldCount = 10;

interface Sizes {
  readonly seconds: number;
  readonly blob: number;
  readonly processes: readonly number[];
}

export function severalProcesses({ quick }: Scale): Scenario {
  const sizes: Sizes = quick
    ? { seconds: 1, blob: 2 * mebibyte, processes: [1, 2] }
    : { seconds: 3, blob: 64 * mebibyte, processes: [1, 2, 4] };
  return {
    name: "several-processes",
    title: "Workers: the same number of processes and cores for everybody",
    programs: ["wrk", "python3"],
    measures: sizes.processes.flatMap((count) => measuresOf(count, sizes.blob)),
    async run(round) {
      const contents = Array.from(
        { length: 1 + coldCount },
        (_, at) => new Content(`process ${at}`, sizes.blob),
      );
      const far = await round.startFar([repositoryOf(name, "1", image, contents)]);
      const [hot, ...cold] = contents.map(expected);
      const wanted: Wanted = { hot: hot as ExpectedBlob, cold, image };
      const samples: Sample[] = [];
      for (const processes of sizes.processes)
        for (const peer of round.peers)
          samples.push(...(await runPeer(round, { far, peer, processes }, wanted, sizes.seconds)));
      return samples;
    },
  };
}

function expected({ digest, size }: Content): ExpectedBlob {
  return { path: `/v2/${name}/blobs/${digest}`, digest, size };
}

function measuresOf(processes: number, blob: number): readonly Measure[] {
  const by = processes === 1 ? "1 process" : `${processes} processes`;
  const size = sizeText(blob);
  const id = (what: string): string => `${what}-${processes}`;
  return [
    { id: id("manifest-rate"), title: `${by}: cached manifest by tag`, unit: "requests/s" },
    { id: id("manifest-cpu"), title: `${by}: the same`, unit: "CPU µs/request" },
    { id: id("hit-rate"), title: `${by}: hits of ${size}, ${width} at once`, unit: "GB/s" },
    { id: id("hit-cpu"), title: `${by}: the same`, unit: "CPU s/GB" },
    { id: id("cold-rate"), title: `${by}: ${coldCount} cold blobs of ${size} at once`, unit: "GB/s" },
    { id: id("cold-cpu"), title: `${by}: the same`, unit: "CPU s/GB" },
    { id: id("memory"), title: `${by}: memory after that (PSS)`, unit: "MB" },
  ];
}

interface Wanted {
  readonly image: Image;
  readonly hot: ExpectedBlob;
  readonly cold: readonly ExpectedBlob[];
}

interface Part {
  readonly far: FarRegistry;
  readonly peer: Peer;
  readonly processes: number;
}

async function runPeer(
  round: Round,
  { far, peer, processes }: Part,
  { image, hot, cold }: Wanted,
  seconds: number,
): Promise<Sample[]> {
  const { servers, load } = round.places.sharing(processes);
  const server = await round.startPeer(peer, far.url, servers, processes);
  const tag = `/v2/${name}/manifests/1`;
  await pull(round, server, tag, image);
  await land(round, server, far, hot);
  const manifests = { paths: [tag] as const, accept: image.mediaType };
  const asked = { server, seconds, place: load };
  // The first seconds show how a program warms up, not how it runs.
  await hitManifests(round, { ...asked, connections: 32 }, manifests);
  const manifest = await hitManifests(round, { ...asked, connections: 32 }, manifests);
  await hitBlobs(round, { ...asked, connections: width }, [hot]);
  const hits = await hitBlobs(round, { ...asked, connections: width }, [hot]);
  const before = (await far.asked()).length;
  const misses = await missBlobs(round, server, cold, load);
  const fetched = fetchesOf(await far.asked(before), ...cold);
  if (peer.name === ours) round.equal(`fetches of ${processes} processes`, fetched.requests, cold.length);
  const memory = server.pss() / 1e6;
  await server.stop();
  const values = {
    "manifest-rate": manifest.rate,
    "manifest-cpu": manifest.cpu,
    "hit-rate": hits.rate,
    "hit-cpu": hits.cpu,
    ...misses,
    memory,
  };
  return samplesOf(peer.name, values, (measure) => `${measure}-${processes}`);
}

async function missBlobs(round: Round, server: Server, blobs: readonly ExpectedBlob[], load: Place) {
  const paths = blobs.map(({ path }) => path);
  await atRest(server);
  let gone = { bytes: 0, bodies: 0, failed: 0, seconds: 0 };
  const { cpuSeconds } = await costOf([server], async () => {
    gone = await discard({ base: server.url, paths, connections: blobs.length, seconds: 0, place: load });
    await atRest(server);
  });
  round.equal(`failed cold downloads of ${server.name}`, gone.failed, 0);
  round.equal(`cold downloads of ${server.name}`, gone.bodies, blobs.length);
  const gigabytes = gone.bytes / gigabyte;
  return { "cold-rate": gigabytes / gone.seconds, "cold-cpu": cpuSeconds / gigabytes };
}
