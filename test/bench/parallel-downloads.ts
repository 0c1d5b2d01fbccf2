// A fleet that pulls the same layer at the same time from a mirror that has it.
import { makeImage } from "../fixtures/images.ts";
import { Content } from "../system/fixtures/content.ts";
import { costOf } from "./cost.ts";
import { repositoryOf } from "./far-content.ts";
import { drainBlob, land } from "./pulling.ts";
import { type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { gigabyte, mebibyte, sizeText } from "./size.ts";

const name = "bench/parallel";
const image = makeImage({ seed: "parallel downloads", layers: [] });

export function parallelDownloads({ quick }: Scale): Scenario {
  const clients = quick ? 50 : 200;
  const size = (quick ? 2 : 16) * mebibyte;
  const alone = quick ? 10 : 60;
  return {
    name: "parallel-downloads",
    title: `${clients} downloads of ${sizeText(size)} at once, hits`,
    measures: [
      { id: "rate", title: `${clients} at once`, unit: "GB/s" },
      {
        id: "against-one",
        title: `Throughput of ${clients} at once against one after another`,
        unit: "%",
        targets: [{ atLeast: 90 }],
      },
      { id: "cpu", title: `${clients} at once`, unit: "CPU s/GB" },
      { id: "rss", title: `Peak memory with ${clients} at once`, unit: "MB", targets: [{ atMost: 250 }] },
    ],
    async run(round) {
      const content = new Content("parallel", size);
      const blob = { path: `/v2/${name}/blobs/${content.digest}`, digest: content.digest, size };
      const far = await round.startFar([repositoryOf(name, "1", image, [content])]);
      const samples: Sample[] = [];
      for (const peer of round.peers) {
        const server = await round.startPeer(peer, far.url);
        await land(round, server, far, blob);
        const one = await costOf([server], async () => {
          for (let count = 0; count < alone; count++) await drainBlob(round, server, blob);
        });
        const all = await costOf([server], () =>
          Promise.all(Array.from({ length: clients }, () => drainBlob(round, server, blob))),
        );
        const rate = (size * clients) / gigabyte / all.seconds;
        const values = {
          rate,
          "against-one": (100 * rate) / ((size * alone) / gigabyte / one.seconds),
          cpu: all.cpuSeconds / ((size * clients) / gigabyte),
          rss: server.peakRss() / 1e6,
        };
        samples.push(...samplesOf(peer.name, values));
        await server.stop();
      }
      return samples;
    },
  };
}
