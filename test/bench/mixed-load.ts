// Everything at once, on one core and with two workers: a fill at the pace of a 100 Mbit link, which is hashed and written while a
// hundred clients follow it, and a stream of manifest requests beside it.
import { fileURLToPath } from "node:url";
import { makeImage } from "../fixtures/images.ts";
import { run } from "../system/fixtures/child.ts";
import { Content } from "../system/fixtures/content.ts";
import { costOf } from "./cost.ts";
import { metricOf, startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { pacedLoad } from "./paced-load.ts";
import { startPacedRelay } from "./paced-relay.ts";
import type { Place } from "./place.ts";
import { fetchesOf, pull, pullBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { mebibyte, sizeText } from "./size.ts";

const crowd = fileURLToPath(new URL("./crowd.ts", import.meta.url));
const name = "bench/mixed";
const image = makeImage({ seed: "mixed load", layers: Array.from({ length: 8 }, () => 64) });
/** 100 Mbit/s. */
const linkPace = 12_500_000;
/** Milliseconds every sample of the metric has when nothing is late: its timer's interval (prom-client). */
const onTime = 10;

export function mixedLoad({ quick }: Scale): Scenario {
  const sizes: Sizes = quick
    ? { followers: 20, perSecond: 500, size: 8 * mebibyte }
    : { followers: 100, perSecond: 5_000, size: 48 * mebibyte };
  const { followers, perSecond, size } = sizes;
  return {
    name: "mixed-load",
    title: `${followers} followers of one fill of ${sizeText(size)} at 100 Mbit/s, and ${perSecond} manifests a second`,
    measures: [...measuresOf(1, 20), ...measuresOf(2, 10)],
    async run(round) {
      const { mirrors, sharing } = round.places;
      return [
        ...(await measure(round, sizes, 1, mirrors[0])),
        ...(await measure(round, sizes, 2, sharing(2).servers)),
      ];
    },
  };
}

interface Sizes {
  readonly followers: number;
  /** Manifests. */
  readonly perSecond: number;
  /** Bytes of the blob. */
  readonly size: number;
}

/** `latest`: milliseconds that the event loop may be late. */
function measuresOf(processes: number, latest: number): readonly Measure[] {
  const by = processes === 1 ? "" : `, ${processes} workers`;
  const id = (what: string): string => idOf(what, processes);
  const late = processes === 1 ? "Event loop" : "The primary's event loop";
  return [
    { id: id("lag-p99"), title: `${late} late, p99`, unit: "ms", targets: [{ atMost: latest }] },
    { id: id("manifest-p50"), title: `Cached manifest meanwhile, p50${by}`, unit: "ms" },
    { id: id("manifest-p99"), title: `Cached manifest meanwhile, p99${by}`, unit: "ms" },
    { id: id("pace"), title: `Followers' bytes against the link's${by}`, unit: "%" },
    { id: id("core"), title: `One core's time in use${by}`, unit: "%" },
    { id: id("rss"), title: `Peak memory${by}`, unit: "MB" },
  ];
}

function idOf(what: string, processes: number): string {
  return processes === 1 ? what : `${what}-${processes}`;
}

/** With two workers the crowd shares their cores. */
async function measure(
  round: Round,
  { followers, perSecond, size }: Sizes,
  processes: number,
  place: Place,
): Promise<readonly Sample[]> {
  const content = new Content("mixed load", size);
  const blob = { path: `/v2/${name}/blobs/${content.digest}`, digest: content.digest, size };
  const far = await round.startFar([repositoryOf(name, "1", image, [content])]);
  const upstream = await startPacedRelay(round, far.url, linkPace);
  const directory = await round.directory();
  const server = await round.stopping(startEntrepot({ upstream, directory, place, processes }));
  const path = `/v2/${name}/manifests/1`;
  await pull(round, server, path, image);
  const seconds = size / linkPace;
  const accept = image.mediaType;
  const manifests = { base: server.url, path, accept, perSecond, coarse: true };
  await pacedLoad({ ...manifests, seconds: 1 });
  // Reading the metric begins its next interval.
  await metricOf(server, "nodejs_eventloop_lag_p99_seconds");
  const [{ result: taken, cpuSeconds }, load] = await Promise.all([
    costOf([server], () => follow(round, new URL(blob.path, server.url), followers, size)),
    pacedLoad({ ...manifests, seconds }),
  ]);
  const lag = (await metricOf(server, "nodejs_eventloop_lag_p99_seconds")) * 1000 - onTime;
  round.equal("failed manifest requests beside a fill", load.failed, 0);
  round.within("upstream's bytes", fetchesOf(await far.asked(), blob).bytes / size, 1, 1.02);
  await pullBlob(round, server, blob);
  const values = {
    "lag-p99": Math.max(0, lag),
    "manifest-p50": load.p50Ms,
    "manifest-p99": load.p99Ms,
    pace: (100 * seconds) / taken,
    core: (100 * cpuSeconds) / taken,
    rss: server.peakRss() / 1e6,
  };
  await server.stop();
  return samplesOf(ours, values, (what) => idOf(what, processes));
}

/** Seconds until every follower has all of it. Rejects when one has not. */
async function follow(round: Round, url: URL, followers: number, size: number): Promise<number> {
  const [command = "node", ...rest] = [...round.places.load.prefix, process.execPath, crowd];
  const output = await run(command, [...rest, url.href, String(followers), String(size)]);
  return (JSON.parse(output) as { seconds: number }).seconds;
}
