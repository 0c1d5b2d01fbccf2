// More and more clients at once, each on a connection of its own with one request at a time.
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

const repository = "bench/growth-clients";
const image = makeImage({ seed: "growth clients", layers: Array.from({ length: 8 }, () => 64) });

export function growthClients({ quick }: Scale): Scenario {
  const points = quick ? [1, 20] : [1, 10, 100, 1_000];
  const size = (quick ? 1 : 4) * mebibyte;
  return growthScenario({
    name: "clients",
    title: "Growing: clients at once",
    points,
    pointText: (clients) => (clients === 1 ? "1 client" : `${clients.toLocaleString("en")} clients`),
    figures: [...manifestFigures, ...blobFigures(`hits of ${sizeText(size)}, one a client`), memoryFigure],
    programs: ["wrk", "python3"],
    turns: quick ? 1 : 7,
    async prepare(round) {
      const content = new Content("growth clients", size);
      const far = await round.startFar([repositoryOf(repository, "1", image, [content])]);
      const blob = { path: `/v2/${repository}/blobs/${content.digest}`, digest: content.digest, size };
      const path = `/v2/${repository}/manifests/1`;
      const start = async (point: number): Promise<RunningPoint> => {
        // One for each point, whose peak is of so many clients.
        const server = await round.startPeer(entrepot, far.url);
        await pull(round, server, path, image);
        await land(round, server, far, blob);
        return {
          measure: async (long) => {
            const asked = { server, seconds: long ? 3 : 1, connections: point, place: round.places.load };
            const manifests = { paths: [path] as const, accept: image.mediaType };
            return hitNumbers(
              await hitManifests(round, asked, manifests),
              await hitBlobs(round, asked, [blob]),
            );
          },
          end: () => endOf([server]),
        };
      };
      return { far, start };
    },
  });
}
