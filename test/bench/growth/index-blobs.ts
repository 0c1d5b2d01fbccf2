// More and more blobs in the index: start, memory, a manifest that is in memory, and blobs from all over the index.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { makeImage } from "../../fixtures/images.ts";
import { costOf } from "../cost.ts";
import { type EntrepotServer, metricOf, startEntrepot } from "../entrepot.ts";
import { repositoryOf } from "../far-content.ts";
import { type Figures, hitManifests } from "../hits.ts";
import type { Place } from "../place.ts";
import { pull } from "../pulling.ts";
import type { Round } from "../round.ts";
import type { Scale, Scenario } from "../scenario.ts";
import { wrk } from "../wrk.ts";
import { endOf, growthScenario, manifestFigures, memoryFigure, type RunningPoint } from "./axis.ts";
import { type MadeBlob, madeBlobSize, makeIndex } from "./made-index.ts";

const image = makeImage({ seed: "growth index", layers: Array.from({ length: 8 }, () => 64) });
const repository = repositoryOf("bench/growth-index", "1", image);
const path = `/v2/${repository.name}/manifests/1`;

export function growthIndex({ quick }: Scale): Scenario {
  const points = quick ? [10_000, 100_000] : [10_000, 100_000, 1_000_000, 5_000_000];
  // As many as the arguments of wrk have room for.
  const asked = quick ? 500 : 5_000;
  return growthScenario({
    name: "index",
    title: "Growing: blobs in the index",
    points,
    pointText: (blobs) => `${blobs.toLocaleString("en")} blobs`,
    figures: [
      ...manifestFigures,
      {
        id: "spread-rate",
        title: `hits of ${asked.toLocaleString("en")} blobs of ${madeBlobSize / 1000} KB, spread over the index`,
        unit: "requests/s",
      },
      { id: "spread-cpu", title: "the same", unit: "CPU µs/request" },
      { id: "ready", title: "start to ready", unit: "ms" },
      memoryFigure,
    ],
    programs: ["wrk"],
    turns: quick ? 1 : 5,
    async prepare(round) {
      const far = await round.startFar([repository]);
      const place = round.places.load;
      const start = async (point: number): Promise<RunningPoint> => {
        const directory = await round.directory();
        const blobs = await makeIndex(join(directory, "cache"), point, asked);
        const { server, readyMs } = await startReady(round, far.url, directory);
        await pull(round, server, path, image);
        // The pulled manifest has come to them.
        const known = await metricOf(server, 'entrepot_cache_objects{store="disk"}');
        round.equal("blobs the mirror has", known, point + 1);
        return {
          measure: async (long) => {
            const seconds = long ? 3 : 1;
            const manifests = { paths: [path] as const, accept: image.mediaType };
            const hot = await hitManifests(round, { server, seconds, connections: 32, place }, manifests);
            const spread = await hitSpread(round, server, blobs, seconds, place);
            return {
              "manifest-rate": hot.rate,
              "manifest-cpu": hot.cpu,
              "spread-rate": spread.rate,
              "spread-cpu": spread.cpu,
            };
          },
          end: async () => ({ ready: readyMs, ...(await endOf([server])) }),
        };
      };
      return { far, start };
    },
  });
}

async function startReady(
  round: Round,
  upstream: URL,
  directory: string,
): Promise<{ readonly server: EntrepotServer; readonly readyMs: number }> {
  // The files are sparse ones: a scrubber would take them for rot.
  const env = { ENTREPOT_CACHE_MAX_SIZE: "100TB", ENTREPOT_CACHE_SCRUB: "0" };
  const began = performance.now();
  const place = round.places.mirrors[0];
  const server = await round.stopping(startEntrepot({ upstream, directory, place, env }));
  while ((await fetch(new URL("/readyz", server.ops))).status !== 200) await delay(5);
  return { server, readyMs: performance.now() - began };
}

async function hitSpread(
  round: Round,
  server: EntrepotServer,
  blobs: readonly MadeBlob[],
  seconds: number,
  place: Place,
): Promise<Figures> {
  const paths = blobs.map((blob) => blob.path) as [string, ...string[]];
  const { result, cpuSeconds } = await costOf([server], () =>
    wrk({ base: server.url, paths, seconds, place }),
  );
  round.equal("failed requests for blobs spread over the index", result.failed, 0);
  round.within("bytes of such a blob", result.bytes / result.requests, madeBlobSize, madeBlobSize + 4_096);
  return { rate: result.perSecond, cpu: (cpuSeconds / result.requests) * 1e6 };
}
