// Blobs the mirror has not: how much later the client has them than from upstream itself, what fetching, checking,
// keeping and sending them costs, and how often the far registry is asked when ten clients come at once.
import { makeImage } from "../fixtures/images.ts";
import { Content } from "../system/fixtures/content.ts";
import { download } from "../system/fixtures/download.ts";
import { atRest, costOf } from "./cost.ts";
import { repositoryOf } from "./far-content.ts";
import type { FarRegistry } from "./far-registry.ts";
import type { Peer } from "./peer.ts";
import { drainBlob, type ExpectedBlob, fetchesOf, pullBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import type { Server } from "./server.ts";
import { gigabyte, mebibyte, sizeText } from "./size.ts";
import { median } from "./statistics.ts";

const name = "bench/cold";
const image = makeImage({ seed: "cold misses", layers: [] });
const crowd = 10;

/** Blobs, each pulled cold once by each mirror. */
interface Blobs {
  /** Pulled first, and not measured. */
  readonly warmUp: readonly ExpectedBlob[];
  /** For the time to the first byte. */
  readonly firstByte: readonly ExpectedBlob[];
  /** By one client, one after another. */
  readonly alone: readonly ExpectedBlob[];
  /** By ten clients at once. */
  readonly crowded: ExpectedBlob;
}

interface Sizes {
  readonly large: number;
  readonly count: number;
}

export function coldMisses({ quick }: Scale): Scenario {
  const sizes = quick ? { large: 8 * mebibyte, count: 2 } : { large: 64 * mebibyte, count: 6 };
  return {
    name: "cold-misses",
    title: `Cold misses of ${sizeText(sizes.large)} over loopback`,
    measures: measuresOf(sizes),
    async run(round) {
      const { blobs, contents } = makeBlobs(sizes);
      const far = await round.startFar([repositoryOf(name, "1", image, contents)]);
      const direct = await pullDirectly(round, far, blobs);
      const samples: Sample[] = [];
      for (const peer of round.peers) {
        const server = await round.startPeer(peer, far.url);
        for (const blob of blobs.warmUp) await pullBlob(round, server, blob);
        const values = {
          "first-byte": (await firstByte(server, blobs.firstByte)) - direct.firstByteMs,
          ...(await missAlone(round, { server, far, peer }, blobs.alone, direct.seconds)),
          ...(await missCrowded(round, { server, far, peer }, blobs.crowded)),
        };
        samples.push(...samplesOf(peer.name, values));
        await server.stop();
      }
      return samples;
    },
  };
}

function measuresOf({ large }: Sizes): readonly Measure[] {
  const size = sizeText(large);
  return [
    {
      id: "first-byte",
      title: "First byte of a cold blob after upstream's own",
      unit: "ms",
      targets: [{ atMost: 10 }],
    },
    {
      id: "pace",
      title: `Cold ${size} against a download from upstream itself`,
      unit: "%",
      targets: [{ atLeast: 60 }],
    },
    {
      id: "alone-cpu",
      title: `Cold ${size}, one client`,
      unit: "CPU s/GB",
      targets: [{ against: "Distribution", atMost: 1.3 }],
    },
    { id: "alone-bytes", title: `Cold ${size}, one client: upstream's bytes per byte`, unit: "×" },
    {
      id: "crowd-cpu",
      title: `Cold ${size}, ten clients at once`,
      unit: "CPU s/GB",
      targets: [{ against: "Distribution", atMost: 0.4 }],
    },
    {
      id: "crowd-requests",
      title: `Cold ${size}, ten clients at once: upstream's requests`,
      unit: "requests",
    },
    {
      id: "crowd-bytes",
      title: `Cold ${size}, ten clients at once: upstream's bytes per byte of the blob`,
      unit: "×",
      targets: [{ atMost: 1.02 }],
    },
  ];
}

function makeBlobs({ large, count }: Sizes): {
  readonly blobs: Blobs;
  readonly contents: readonly Content[];
} {
  const contents: Content[] = [];
  const make = (size: number): ExpectedBlob => {
    const content = new Content(`cold ${contents.length}`, size);
    contents.push(content);
    return { path: `/v2/${name}/blobs/${content.digest}`, digest: content.digest, size };
  };
  const several = (number: number, size: number) => Array.from({ length: number }, () => make(size));
  const blobs = {
    warmUp: several(2, large),
    firstByte: several(15, mebibyte),
    alone: several(count, large),
    crowded: make(large),
  };
  return { blobs, contents };
}

async function pullDirectly(round: Round, far: FarRegistry, blobs: Blobs) {
  for (const blob of blobs.alone) await pullBlob(round, far, blob);
  const firstByteMs = await firstByte(far, blobs.firstByte);
  const { seconds } = await costOf([], () => drainAll(round, far, blobs.alone));
  return { firstByteMs, seconds };
}

/** Median of the milliseconds from asking to the first byte of the body. */
async function firstByte(server: Server, blobs: readonly ExpectedBlob[]): Promise<number> {
  const times: number[] = [];
  for (const { path } of blobs) {
    const start = performance.now();
    let first: number | undefined;
    const onBytes = (): void => {
      first ??= performance.now() - start;
    };
    await download(new URL(path, server.url).href, { hash: false, onBytes }).done;
    times.push(first ?? Number.NaN);
  }
  return median(times);
}

async function drainAll(round: Round, server: Server, blobs: readonly ExpectedBlob[]): Promise<void> {
  for (const blob of blobs) await drainBlob(round, server, blob);
}

interface Part {
  readonly server: Server;
  readonly far: FarRegistry;
  readonly peer: Peer;
}

async function missAlone(
  round: Round,
  { server, far, peer }: Part,
  blobs: readonly ExpectedBlob[],
  direct: number,
) {
  const before = (await far.asked()).length;
  await atRest(server);
  let seconds = 0;
  const { cpuSeconds } = await costOf([server], async () => {
    ({ seconds } = await costOf([], () => drainAll(round, server, blobs)));
    await atRest(server);
  });
  const size = blobs.reduce((sum, blob) => sum + blob.size, 0);
  const fetched = fetchesOf(await far.asked(before), ...blobs);
  if (peer.name === ours) round.within("upstream's bytes for one client", fetched.bytes / size, 1, 1.02);
  for (const blob of blobs) await pullBlob(round, server, blob);
  return {
    pace: (100 * direct) / seconds,
    "alone-cpu": cpuSeconds / (size / gigabyte),
    "alone-bytes": fetched.bytes / size,
  };
}

async function missCrowded(round: Round, { server, far, peer }: Part, blob: ExpectedBlob) {
  await atRest(server);
  const before = (await far.asked()).length;
  const { cpuSeconds } = await costOf([server], async () => {
    await Promise.all(Array.from({ length: crowd }, () => drainBlob(round, server, blob)));
    await atRest(server);
  });
  const fetched = fetchesOf(await far.asked(before), blob);
  if (peer.name === ours)
    round.within("upstream's bytes for ten clients", fetched.bytes / blob.size, 1, 1.02);
  await pullBlob(round, server, blob);
  return {
    "crowd-cpu": cpuSeconds / ((blob.size * crowd) / gigabyte),
    "crowd-requests": fetched.requests,
    "crowd-bytes": fetched.bytes / blob.size,
  };
}
