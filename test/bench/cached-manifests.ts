// A manifest the mirror has: what every start of a container asks for first, by tag and then by digest.
import { makeImage } from "../fixtures/images.ts";
import { costOf } from "./cost.ts";
import { repositoryOf } from "./far-content.ts";
import type { FarRegistry } from "./far-registry.ts";
import { pacedLoad } from "./paced-load.ts";
import type { Peer } from "./peer.ts";
import { pull } from "./pulling.ts";
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
import type { Server } from "./server.ts";
import { wrk } from "./wrk.ts";

/** About 1.5 KB, the usual size. */
const image = makeImage({ seed: "cached manifest", layers: Array.from({ length: 8 }, () => 64) });
const repository = repositoryOf("bench/manifests", "1", image);
const references = { tag: "1", digest: image.digest } as const;
type Kind = keyof typeof references;

export function cachedManifests({ quick }: Scale): Scenario {
  const seconds = quick ? 1 : 3;
  return {
    name: "cached-manifests",
    title: `Cached manifest of ${image.manifest.length} bytes, 32 connections`,
    programs: ["wrk"],
    measures: [
      ...measuresOf("tag", { against: "Distribution", atLeast: 35 }),
      ...measuresOf("digest", { against: "Distribution", atLeast: 5 }),
    ],
    async run(round) {
      const far = await round.startFar([repository]);
      const samples: Sample[] = [];
      for (const peer of round.peers) samples.push(...(await runPeer(round, far, peer, seconds)));
      return samples;
    },
  };
}

function measuresOf(kind: Kind, target: Target): readonly Measure[] {
  const by = `by ${kind}`;
  return [
    { id: `${kind}-rate`, title: by, unit: "requests/s", targets: [{ atLeast: 15_000 }, target] },
    { id: `${kind}-cpu`, title: by, unit: "CPU µs/request" },
    { id: `${kind}-p50`, title: `${by}, at full load: p50`, unit: "ms" },
    { id: `${kind}-p99`, title: `${by}, at full load: p99`, unit: "ms" },
    { id: `${kind}-half-p50`, title: `${by}, at half that load: p50`, unit: "ms" },
    {
      id: `${kind}-half-p99`,
      title: `${by}, at half that load: p99`,
      unit: "ms",
      targets: [{ against: "nginx", atMost: 1.5 }],
    },
  ];
}

async function runPeer(round: Round, far: FarRegistry, peer: Peer, seconds: number): Promise<Sample[]> {
  const server = await round.startPeer(peer, far.url);
  const samples: Sample[] = [];
  for (const kind of ["digest", "tag"] as const) {
    const path = `/v2/${repository.name}/manifests/${references[kind]}`;
    await pull(round, server, path, image);
    const before = (await far.asked()).length;
    const values = await load(round, server, path, seconds);
    if (peer.name === ours) round.equal(`upstream requests for ${path}`, (await far.asked()).length, before);
    samples.push(...samplesOf(peer.name, values, (name) => `${kind}-${name}`));
  }
  await server.stop();
  return samples;
}

async function load(round: Round, server: Server, path: string, seconds: number) {
  const accept = image.mediaType;
  const full = (time: number) =>
    wrk({ base: server.url, paths: [path], accept, seconds: time, place: round.places.load });
  // The first seconds show how a program warms up, not how it runs.
  await full(seconds);
  const { result, cpuSeconds } = await costOf([server], () => full(seconds));
  round.equal(`failed requests of ${server.name} for ${path}`, result.failed, 0);
  round.within(
    `bytes of ${server.name} for ${path}`,
    result.bytes / result.requests,
    image.manifest.length,
    4096,
  );
  const perSecond = result.perSecond / 2;
  const half = await pacedLoad({ base: server.url, path, accept, perSecond, seconds });
  round.equal(`failed requests of ${server.name} for ${path} at half load`, half.failed, 0);
  return {
    rate: result.perSecond,
    cpu: (cpuSeconds / result.requests) * 1e6,
    p50: result.p50Ms,
    p99: result.p99Ms,
    "half-p50": half.p50Ms,
    "half-p99": half.p99Ms,
  };
}
