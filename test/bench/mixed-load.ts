// Everything at once, on one core of the mirror: a fill at the pace of a 100 Mbit link, which is hashed and written
// while a hundred clients follow it, and a stream of manifest requests beside it.
import { fileURLToPath } from "node:url";
import { makeImage } from "../fixtures/images.ts";
import { run } from "../system/fixtures/child.ts";
import { Content } from "../system/fixtures/content.ts";
import { costOf } from "./cost.ts";
import { metricOf, startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { pacedLoad } from "./paced-load.ts";
import { startPacedRelay } from "./paced-relay.ts";
import { fetchesOf, pull, pullBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import { ours, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { mebibyte, sizeText } from "./size.ts";

const crowd = fileURLToPath(new URL("./crowd.ts", import.meta.url));
const name = "bench/mixed";
const image = makeImage({ seed: "mixed load", layers: Array.from({ length: 8 }, () => 64) });
/** 100 Mbit/s. */
const linkPace = 12_500_000;
/** Milliseconds every sample of the metric has when nothing is late: its timer's interval (prom-client). */
const onTime = 10;

export function mixedLoad({ quick }: Scale): Scenario {
  const followers = quick ? 20 : 100;
  const perSecond = quick ? 500 : 5_000;
  const size = (quick ? 8 : 48) * mebibyte;
  return {
    name: "mixed-load",
    title: `${followers} followers of one fill of ${sizeText(size)} at 100 Mbit/s, and ${perSecond} manifests a second`,
    measures: [
      { id: "lag-p99", title: "Event loop late, p99", unit: "ms", targets: [{ atMost: 20 }] },
      { id: "manifest-p50", title: "Cached manifest meanwhile, p50", unit: "ms" },
      { id: "manifest-p99", title: "Cached manifest meanwhile, p99", unit: "ms" },
      { id: "pace", title: "Followers' bytes against the link's", unit: "%" },
      { id: "core", title: "The mirror's core in use", unit: "%" },
      { id: "rss", title: "Peak memory", unit: "MB" },
    ],
    async run(round) {
      const content = new Content("mixed load", size);
      const blob = { path: `/v2/${name}/blobs/${content.digest}`, digest: content.digest, size };
      const far = await round.startFar([repositoryOf(name, "1", image, [content])]);
      const upstream = await startPacedRelay(round, far.url, linkPace);
      const place = round.places.mirrors[0];
      const server = await round.stopping(
        startEntrepot({ upstream, directory: await round.directory(), place }),
      );
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
      return samplesOf(ours, values);
    },
  };
}

/** Seconds until every follower has all of it. Rejects when one has not. */
async function follow(round: Round, url: URL, followers: number, size: number): Promise<number> {
  const [command = "node", ...rest] = [...round.places.load.prefix, process.execPath, crowd];
  const output = await run(command, [...rest, url.href, String(followers), String(size)]);
  return (JSON.parse(output) as { seconds: number }).seconds;
}
