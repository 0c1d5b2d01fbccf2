// A cold image over 100 Mbit/s and 40 ms there and back, with its next layers fetched ahead of the client and without: images of
// many small layers, where it helps, and shapes of pulls that it must not slow down.
import { fileURLToPath } from "node:url";
import { type Image, makeImage } from "../fixtures/images.ts";
import { run } from "../system/fixtures/child.ts";
import { type Cleanup, workDirectory } from "../system/fixtures/work-directory.ts";
import { atRest } from "./cost.ts";
import { startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { type FarRegistry, startFarRegistry } from "./far-registry.ts";
import type { ImagePull } from "./image-client.ts";
import { type LongLinkRig, longLinkMissing, startLongLinkRig } from "./long-link-rig.ts";
import { fetchesOf } from "./pulling.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import { mebibyte } from "./size.ts";

const clientProgram = fileURLToPath(new URL("image-client.ts", import.meta.url));
const link = { mbit: 100, roundTrip: 40, loss: 0, seed: 1 };
/** Milliseconds. */
const longestPull = 60_000;
const without = "without prefetch";
const kibibyte = 1024;

/** How an image is pulled. */
interface Shape {
  readonly id: string;
  readonly title: string;
  /** Bytes. */
  readonly layers: readonly number[];
  readonly atOnce: number;
  /** The client takes each so manieth layer. */
  readonly every: number;
  /** Time with prefetch against that without. */
  readonly atMost: number;
}

/** Most images have a few layers of some hundred KiB, and many of some KiB or less. */
const mixed = [512, 4, 256, 16, 128, 1, 512, 64, 8, 256, 32, 2].map((size) => size * kibibyte);
const small = Array.from({ length: 12 }, () => 128 * kibibyte);
const equal = Array.from({ length: 12 }, () => 512 * kibibyte);
/** Times may vary by so much where nothing should change. */
const noSlower = 1.05;

const shapes: readonly Shape[] = [
  {
    id: "small",
    title: "12 layers of 128 KiB, 3 at once",
    layers: small,
    atOnce: 3,
    every: 1,
    atMost: 1 / 1.5,
  },
  {
    id: "mixed",
    title: "12 layers of 1 to 512 KiB, 3 at once",
    layers: mixed,
    atOnce: 3,
    every: 1,
    atMost: 1 / 1.5,
  },
  {
    id: "equal",
    title: "12 layers of 512 KiB, 3 at once",
    layers: equal,
    atOnce: 3,
    every: 1,
    atMost: noSlower,
  },
  {
    id: "all",
    title: "12 layers of 512 KiB, all at once",
    layers: equal,
    atOnce: 12,
    every: 1,
    atMost: noSlower,
  },
  {
    id: "large",
    title: "one layer of 32 MiB",
    layers: [32 * mebibyte],
    atOnce: 3,
    every: 1,
    atMost: noSlower,
  },
  {
    id: "large-first",
    title: "32 MiB, then 11 of 64 KiB, 3 at once",
    layers: [32 * mebibyte, ...Array.from({ length: 11 }, () => 64 * kibibyte)],
    atOnce: 3,
    every: 1,
    atMost: noSlower,
  },
  {
    id: "skips",
    title: "each third of 12 layers, one at a time",
    layers: equal,
    atOnce: 1,
    every: 3,
    atMost: noSlower,
  },
];

export function prefetch({ quick }: Scale): Scenario {
  const chosen = quick ? shapes.slice(0, 1) : shapes;
  return {
    name: "prefetch",
    title: `A cold image over ${link.mbit} Mbit/s and ${link.roundTrip} ms there and back`,
    unable: longLinkMissing,
    mostRounds: 5,
    measures: chosen.flatMap(measuresOf),
    async run(round) {
      const rig = startLongLinkRig(round);
      const images = chosen.map(({ id, layers }) => makeImage({ seed: `prefetch ${id}`, layers }));
      const far = await round.stopping(
        startFarRegistry({
          content: images.map((image, at) => repositoryOf(nameOf(chosen[at] as Shape), "1", image)),
          directory: await round.directory(),
          place: rig.far,
        }),
      );
      const samples: Sample[] = [];
      for (const [at, shape] of chosen.entries()) {
        const site = { round, rig, far, shape, image: images[at] as Image };
        const with_ = await measure(site, true);
        samples.push(...(quick ? with_.filter(({ measure }) => !measure.endsWith("wall")) : with_));
        if (!quick) samples.push(...(await measure(site, false)));
      }
      return samples;
    },
  };
}

function nameOf({ id }: Shape): string {
  return `bench/${id}`;
}

/** All layers are so small that each comes in one request. */
function isSmall({ layers }: Shape): boolean {
  return Math.max(...layers) <= mebibyte;
}

function measuresOf(shape: Shape): readonly Measure[] {
  const { id, title, atMost, every } = shape;
  return [
    { id: `${id}-wall`, title, unit: "s", targets: [{ against: without, atMost }] },
    { id: `${id}-layers`, title: `${title}: layers fetched ahead`, unit: "requests" },
    { id: `${id}-requests`, title: `${title}: upstream's requests for blobs`, unit: "requests" },
    {
      id: `${id}-bytes`,
      title: `${title}: upstream's bytes per byte pulled`,
      unit: "×",
      ...(every === 1 && isSmall(shape) && { targets: [{ atMost: 1 }] }),
    },
  ];
}

interface Site {
  readonly round: Round;
  readonly rig: LongLinkRig;
  readonly far: FarRegistry;
  readonly shape: Shape;
  readonly image: Image;
}

/** Each has a new link, and a new mirror. */
async function measure(site: Site, ahead: boolean): Promise<readonly Sample[]> {
  const undo: (() => unknown)[] = [];
  const end = async (): Promise<void> => {
    for (let fn = undo.pop(); fn !== undefined; fn = undo.pop()) await fn();
  };
  site.round.teardown(end);
  try {
    return await pull({ teardown: (fn) => undo.push(fn) }, site, ahead);
  } finally {
    await end();
  }
}

async function pull(t: Cleanup, { round, rig, far, shape, image }: Site, ahead: boolean) {
  const name = nameOf(shape);
  const earlier = (await far.asked()).length;
  const near = await rig.near(t, link);
  const { prefix, address } = near.place;
  const mirror = await startEntrepot({
    upstream: far.url,
    directory: await workDirectory(t),
    place: { prefix: [...prefix, ...round.places.mirrors[0].prefix], address },
    ...(ahead ? {} : { env: { ENTREPOT_CACHE_PREFETCH: "0" } }),
  });
  t.teardown(() => mirror.stop());
  const [enter = "env", ...into] = prefix;
  const asked = [mirror.url.origin, name, "1", String(shape.atOnce), String(shape.every), mirror.ops.href];
  const printed = await run(enter, [...into, process.execPath, clientProgram, ...asked], {
    timeout: longestPull,
  });
  const { wall, blobs, bytes, ahead: layers } = JSON.parse(printed) as ImagePull;
  await atRest(mirror);
  await mirror.stop();
  const all = [image.config, ...image.layers].map((blob) => ({
    path: `/v2/${name}/blobs/${blob.digest}`,
    digest: blob.digest,
    size: blob.bytes.length,
  }));
  const requests = await far.asked(earlier);
  const fetched = fetchesOf(requests, ...all);
  const manifests = requests.filter(({ path }) => path.endsWith("/manifests/1"));
  round.equal(`requests for the manifest of ${shape.id}`, manifests.length, 1);
  if (shape.every === 1) {
    round.equal(`blobs of ${shape.id}`, blobs, all.length);
    round.equal(
      `bytes of ${shape.id}`,
      bytes,
      all.reduce((sum, { size }) => sum + size, 0),
    );
    // A large one comes in several requests, where a link seems slow, and what upstream has sent of one that is given up counts.
    if (isSmall(shape)) {
      round.equal(`requests for blobs of ${shape.id}`, fetched.requests, all.length);
      round.equal(`upstream's bytes of ${shape.id}`, fetched.bytes, bytes);
    }
  }
  if (!ahead) round.equal(`layers fetched ahead of ${shape.id}, ${without}`, layers, 0);
  // Nothing is certain but where the client waits for three of twelve that are alike.
  if (ahead && shape.id === "small") round.within("layers fetched ahead", layers, 1, shape.layers.length);
  const values = { wall: wall / 1000, layers, requests: fetched.requests, bytes: fetched.bytes / bytes };
  await near.remove();
  return samplesOf(ahead ? ours : without, values, (measure) => `${shape.id}-${measure}`);
}
