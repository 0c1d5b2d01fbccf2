// More and more worker processes, on as many cores as there are of them. Clients and upstream have the cores that are left, and
// share all of them when none is.
import { makeImage } from "../../fixtures/images.ts";
import { Content } from "../../system/fixtures/content.ts";
import { repositoryOf } from "../far-content.ts";
import { hitBlobs, hitManifests } from "../hits.ts";
import { entrepot } from "../peer.ts";
import { land, pull } from "../pulling.ts";
import type { Scale, Scenario } from "../scenario.ts";
import { mebibyte, sizeText } from "../size.ts";
import {
  blobFigures,
  endOf,
  growthScenario,
  hitNumbers,
  manifestFigures,
  memoryFigure,
  type RunningPoint,
} from "./axis.ts";

const repository = "bench/growth-workers";
const image = makeImage({ seed: "growth workers", layers: Array.from({ length: 8 }, () => 64) });
/** Downloads at once. */
const width = 8;

export function growthWorkers({ quick }: Scale): Scenario {
  const points = quick ? [1, 2] : [1, 2, 4];
  const size = (quick ? 2 : 64) * mebibyte;
  return growthScenario({
    name: "workers",
    title: "Growing: workers, on as many cores",
    points,
    pointText: (workers) => (workers === 1 ? "no worker" : `${workers} workers`),
    figures: [
      ...manifestFigures,
      ...blobFigures(`hits of ${sizeText(size)}, ${width} at once`),
      memoryFigure,
    ],
    programs: ["wrk", "python3"],
    turns: quick ? 1 : 7,
    async prepare(round) {
      const content = new Content("growth workers", size);
      const far = await round.startFar([repositoryOf(repository, "1", image, [content])]);
      const blob = { path: `/v2/${repository}/blobs/${content.digest}`, digest: content.digest, size };
      const path = `/v2/${repository}/manifests/1`;
      const start = async (point: number): Promise<RunningPoint> => {
        const { servers, load: place } = round.places.sharing(point);
        const server = await round.startPeer(entrepot, far.url, servers, point);
        await pull(round, server, path, image);
        await land(round, server, far, blob);
        return {
          measure: async (long) => {
            const asked = { server, seconds: long ? 3 : 1, place };
            const manifests = { paths: [path] as const, accept: image.mediaType };
            return hitNumbers(
              await hitManifests(round, { ...asked, connections: 32 }, manifests),
              await hitBlobs(round, { ...asked, connections: width }, [blob]),
            );
          },
          end: () => endOf([server]),
        };
      };
      return { far, start };
    },
  });
}
