// What fetching layers ahead costs upstream in bytes: a trace, replayed with manifests that name the layers asked for after them.
// All of it comes from one address, so that to the mirror it is one client that pulls many images at once, among other requests.
import { metricOf, startEntrepot } from "./entrepot.ts";
import type { FarRegistry } from "./far-registry.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { makeTrace } from "./trace/made-trace.ts";
import { replay } from "./trace/replay.ts";
import { contentOf, type TraceContent } from "./trace/trace-content.ts";

/** Room for a part of all bytes, in percent; undefined without a bound. */
const parts = [5, undefined] as const;
/** How much more upstream may send. */
const mostBytes = 1.02;
/** Bytes below which a blob is small, before the sizes are scaled: the default of `cache.smallBlob`. */
const smallBlob = 1_000_000;

export function prefetchTrace({ quick }: Scale): Scenario {
  const length = quick ? 3_000 : 100_000;
  const bytes = quick ? 40e6 : 1.5e9;
  return {
    name: "prefetch-trace",
    title: `A trace of ${length.toLocaleString("en")} requests replayed, with layers fetched ahead and without`,
    mostRounds: 1,
    measures: parts.flatMap(measuresOf),
    async run(round) {
      const content = contentOf(makeTrace({ length }), bytes, { namesLayers: true });
      const far = await round.startFar(content.repositories);
      const samples: Sample[] = [];
      for (const part of parts) {
        const without = await measure(round, far, content, part, false);
        const ahead = await measure(round, far, content, part, true);
        round.equal(`bytes of blobs sent, ${idOf(part)}`, ahead.sent, without.sent);
        round.equal(`bytes of blobs sent without, ${idOf(part)}`, without.sent, content.askedBytes);
        round.equal(`layers fetched ahead without, ${idOf(part)}`, without.used, 0);
        const values = { ratio: ahead.bytes / without.bytes, used: ahead.used, unused: ahead.unused };
        samples.push(...samplesOf(ours, values, (name) => `${idOf(part)}-${name}`));
      }
      return samples;
    },
  };
}

function idOf(part: number | undefined): string {
  return part === undefined ? "unbounded" : `room-${part}`;
}

function measuresOf(part: number | undefined): readonly Measure[] {
  const room = part === undefined ? "no bound" : `room for ${part} %`;
  const id = idOf(part);
  return [
    {
      id: `${id}-ratio`,
      title: `Upstream's bytes against without, ${room}`,
      unit: "×",
      targets: [{ atMost: mostBytes }],
    },
    { id: `${id}-used`, title: `Layers fetched ahead and asked for, ${room}`, unit: "requests" },
    { id: `${id}-unused`, title: `Layers fetched ahead and not asked for, ${room}`, unit: "requests" },
  ];
}

async function measure(
  round: Round,
  far: FarRegistry,
  { asked, uniqueBytes, scale }: TraceContent,
  part: number | undefined,
  ahead: boolean,
) {
  const before = (await far.asked()).length;
  const room = part && {
    bytes: Math.round((uniqueBytes * part) / 100),
    smallBlob: Math.max(1, Math.round(smallBlob / scale)),
  };
  const mirror = await round.stopping(
    startEntrepot({
      upstream: far.url,
      directory: await round.directory(),
      place: round.places.mirrors[0],
      ...(room && { room }),
      ...(ahead ? {} : { env: { ENTREPOT_CACHE_PREFETCH: "0" } }),
    }),
  );
  const { blobBytes } = await replay(mirror.url, asked);
  const layers = (result: string): Promise<number> =>
    metricOf(mirror, `entrepot_prefetched_layers_total{result="${result}"}`);
  const [used, unused] = [await layers("used"), await layers("unused")];
  await mirror.stop();
  const fetched = (await far.asked(before)).filter(({ path }) => path.includes("/blobs/"));
  return { sent: blobBytes, bytes: fetched.reduce((sum, { bytes }) => sum + bytes, 0), used, unused };
}
