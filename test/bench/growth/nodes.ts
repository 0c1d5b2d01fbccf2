// More and more nodes behind HAProxy. Where there are fewer cores than nodes and clients, these share them: what a request costs
// the nodes then counts, not the requests a second.
import { makeNodeContent, startBalancedNodes } from "../balanced-nodes.ts";
import { hitBlobs, hitManifests } from "../hits.ts";
import type { Scale, Scenario } from "../scenario.ts";
import { mebibyte, sizeText } from "../size.ts";
import { blobFigures, endOf, growthScenario, hitNumbers, memoryFigure, type RunningPoint } from "./axis.ts";

/** Downloads at once. */
const width = 8;

export function growthNodes({ quick }: Scale): Scenario {
  const size = (quick ? 1 : 8) * mebibyte;
  return growthScenario({
    name: "nodes",
    title: "Growing: nodes behind HAProxy, one core each",
    points: [1, 2, 3],
    pointText: (nodes) => (nodes === 1 ? "1 node" : `${nodes} nodes`),
    figures: [
      { id: "manifest-rate", title: "cached manifest by digest", unit: "requests/s" },
      { id: "manifest-cpu", title: "the same, all nodes", unit: "CPU µs/request" },
      ...blobFigures(`hits of ${sizeText(size)}, ${width} at once`),
      memoryFigure,
    ],
    programs: ["wrk", "haproxy", "python3"],
    turns: quick ? 1 : 7,
    async prepare(round) {
      const content = makeNodeContent(size);
      const far = await round.startFar(content.repositories);
      const start = async (point: number): Promise<RunningPoint> => {
        const { stop, ...balanced } = await startBalancedNodes(round, far, point, content);
        return {
          measure: async (long) => {
            // So that each of several warms up on as many requests as one alone.
            const asked = { ...balanced, seconds: long ? 3 * point : 1 };
            return hitNumbers(
              await hitManifests(round, { ...asked, connections: 32 }, content.manifests),
              await hitBlobs(round, { ...asked, connections: width }, content.blobs),
            );
          },
          end: () => endOf(balanced.nodes, stop),
        };
      };
      return { far, start };
    },
  });
}
