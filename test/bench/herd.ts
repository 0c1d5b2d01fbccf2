// A deploy: every machine pulls the same new image at the same moment. One node, and three that clients choose without looking at
// what they ask for, so that the nodes have to find out by themselves who fetches what.
import { fileURLToPath } from "node:url";
import { makeImage } from "../fixtures/images.ts";
import { run } from "../system/fixtures/child.ts";
import { Content } from "../system/fixtures/content.ts";
import { redisPrograms, startRedis } from "../system/fixtures/redis.ts";
import { redisSettings } from "../system/fixtures/shared-services.ts";
import { type EntrepotOptions, startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { startPacedRelay } from "./paced-relay.ts";
import { type ExpectedBlob, fetchesOf } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import type { Server } from "./server.ts";
import { percentile } from "./statistics.ts";

const program = fileURLToPath(new URL("./herd.py", import.meta.url));
const name = "bench/herd";
const image = makeImage({ seed: "herd", layers: [] });
/** Bytes a second of the link to upstream: 1 Gbit/s. */
const linkPace = 125_000_000;

interface Sizes {
  readonly clients: number;
  readonly idle: number;
  /** Bytes of each layer. */
  readonly layers: readonly number[];
}

/** What herd.py prints. */
interface Herd {
  readonly seconds: readonly number[];
  readonly bytes: number;
  readonly failed: number;
  readonly idle: number;
}

export function herd({ quick }: Scale): Scenario {
  const sizes: Sizes = quick
    ? { clients: 20, idle: 40, layers: [5_000_000, 3_000_000, 2_000_000] }
    : { clients: 500, idle: 1_000, layers: [50_000_000, 30_000_000, 20_000_000] };
  const { clients, idle, layers } = sizes;
  const megabytes = layers.reduce((sum, size) => sum + size, 0) / 1e6;
  return {
    name: "herd",
    title: `${clients} clients pull one cold image of ${megabytes} MB at once, upstream at 1 Gbit/s, ${idle} idle connections beside`,
    programs: ["python3", ...redisPrograms],
    mostRounds: 3,
    measures: [
      ...measuresOf("one", "one node"),
      ...measuresOf("three", "three nodes, clients dealt to them in turn"),
    ],
    async run(round) {
      return [...(await measure(round, "one", 1, sizes)), ...(await measure(round, "three", 3, sizes))];
    },
  };
}

function measuresOf(id: string, title: string): readonly Measure[] {
  return [
    { id: `${id}-p50`, title: `Whole pull, ${title}, p50`, unit: "s" },
    { id: `${id}-p99`, title: `Whole pull, ${title}, p99`, unit: "s" },
    {
      id: `${id}-spread`,
      title: `Whole pull, ${title}, p99 against p50`,
      unit: "×",
      targets: [{ atMost: 1.3 }],
    },
    { id: `${id}-upstream`, title: `Upstream's bytes, ${title}`, unit: "×", targets: [{ atMost: 1.005 }] },
    { id: `${id}-rss`, title: `Peak memory of a node, ${title}`, unit: "MB", targets: [{ atMost: 250 }] },
  ];
}

async function measure(
  round: Round,
  id: string,
  count: number,
  { clients, idle, layers }: Sizes,
): Promise<readonly Sample[]> {
  const contents = layers.map((size, at) => new Content(`herd ${id} ${at}`, size));
  const far = await round.startFar([repositoryOf(name, "1", image, contents)]);
  const upstream = await startPacedRelay(round, far.url, linkPace);
  const nodes = await startNodes(round, upstream, count);
  const blobs: readonly ExpectedBlob[] = contents.map(({ digest, size }) => ({
    path: `/v2/${name}/blobs/${digest}`,
    digest,
    size,
  }));
  const got = await runHerd(round, nodes, { clients, idle, blobs });
  const size = layers.reduce((sum, bytes) => sum + bytes, 0);
  round.equal("pulls that failed", got.failed, 0);
  round.equal("bytes of all pulls", got.bytes, clients * (size + image.manifest.length));
  round.equal("idle connections left open", got.idle, idle);
  const values = {
    p50: percentile(got.seconds, 50),
    p99: percentile(got.seconds, 99),
    spread: percentile(got.seconds, 99) / percentile(got.seconds, 50),
    upstream: fetchesOf(await far.asked(), ...blobs).bytes / size,
    rss: Math.max(...nodes.map((node) => node.peakRss())) / 1e6,
  };
  for (const node of nodes) await node.stop();
  return samplesOf(ours, values, (measure) => `${id}-${measure}`);
}

/** One alone, or several that share a Redis and read from each other what one of them fetches. */
async function startNodes(round: Round, upstream: URL, count: number): Promise<readonly Server[]> {
  const place = round.places.mirrors[0];
  const start = async (several: Pick<EntrepotOptions, "node" | "env">): Promise<Server> =>
    await round.stopping(startEntrepot({ upstream, directory: await round.directory(), place, ...several }));
  if (count === 1) return [await start({})];
  const env = redisSettings(await startRedis(round));
  return await Promise.all(Array.from({ length: count }, (_, at) => start({ node: `node-${at + 1}`, env })));
}

async function runHerd(
  round: Round,
  nodes: readonly Server[],
  {
    clients,
    idle,
    blobs,
  }: { readonly clients: number; readonly idle: number; readonly blobs: readonly ExpectedBlob[] },
): Promise<Herd> {
  const [command = "python3", ...rest] = [...round.places.load.prefix, "python3", program];
  const manifest = `/v2/${name}/manifests/1`;
  const layers = blobs.map(({ path }) => path).join(",");
  const hosts = nodes.map(({ url }) => url.host);
  const output = await run(command, [...rest, String(clients), String(idle), manifest, layers, ...hosts], {
    timeout: 600_000,
  });
  return JSON.parse(output) as Herd;
}
