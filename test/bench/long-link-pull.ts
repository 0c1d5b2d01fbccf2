// One measurement over a long link: a near end of its own with a mirror that knows nothing yet, and a client that pulls
// layers through it as clients do: the manifest first.
import { fileURLToPath } from "node:url";
import { run } from "../system/fixtures/child.ts";
import { type Cleanup, workDirectory } from "../system/fixtures/work-directory.ts";
import { atRest } from "./cost.ts";
import type { FarRegistry } from "./far-registry.ts";
import type { LinkPull } from "./link-client.ts";
import type { LinkCounts, LinkShape, LongLinkRig } from "./long-link-rig.ts";
import type { Place } from "./place.ts";
import type { ExpectedBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import type { Server, ServerOptions } from "./server.ts";

const clientProgram = fileURLToPath(new URL("link-client.ts", import.meta.url));
/** Milliseconds. One stream over a link that loses one packet in a hundred takes most of a minute for 16 MiB. */
const longestPull = 300_000;

/** Who pulls: through a mirror that `start` gives, or straight from the far registry without one. */
export interface Puller {
  readonly name: string;
  readonly start?: (options: ServerOptions) => Promise<Server>;
}

/** What is pulled of an image. */
export interface ColdLayer extends ExpectedBlob {
  /** Path of the image's manifest. */
  readonly manifest: string;
}

/** One cold layer through one puller. */
export interface ColdPull extends LinkPull {
  readonly layer: ExpectedBlob;
  /** GETs upstream for the layer. */
  readonly requests: number;
  /**
   * Of their bodies, as the far registry's log has them: bytes given to its kernel to send. Of a request that is given
   * up that may be some MB more than ever crossed the link.
   */
  readonly upstreamBytes: number;
}

export interface Measured {
  /** In the order asked for. */
  readonly pulls: readonly ColdPull[];
  /** User and system time of the mirror for all of them; undefined when there is none. */
  readonly cpuSeconds: number | undefined;
  /** All packets of manifest and layers. */
  readonly link: LinkCounts;
}

export interface Site {
  /** Undoes what a pull cannot any more, and counts its checks. */
  readonly round: Round;
  readonly rig: LongLinkRig;
  readonly far: FarRegistry;
  /** Put before a mirror's program, which runs alone: see `Place`. */
  readonly mirrorPrefix: readonly string[];
}

/**
 * Rejects when a layer does not come whole and right. Each call has a new link, which loses the same packets as every
 * other of its seed, and a new mirror, which has learnt from the layers of this call alone. Both are gone when it
 * settles, or at the end of the round when that comes first.
 */
export async function pullCold(
  site: Site,
  puller: Puller,
  shape: LinkShape,
  layers: readonly ColdLayer[],
): Promise<Measured> {
  const undo: (() => unknown)[] = [];
  const end = async (): Promise<void> => {
    for (let fn = undo.pop(); fn !== undefined; fn = undo.pop()) await fn();
  };
  site.round.teardown(end);
  try {
    return await measure({ teardown: (fn) => undo.push(fn) }, site, puller, shape, layers);
  } finally {
    await end();
  }
}

async function measure(
  t: Cleanup,
  { round, rig, far, mirrorPrefix }: Site,
  { name, start }: Puller,
  shape: LinkShape,
  layers: readonly ColdLayer[],
): Promise<Measured> {
  const earlier = (await far.asked()).length;
  const near = await rig.near(t, shape);
  const { prefix, address } = near.place;
  const place = { prefix: [...prefix, ...mirrorPrefix], address };
  const mirror = await start?.({ upstream: far.url, directory: await workDirectory(t), place });
  t.teardown(() => mirror?.stop());
  const atStart = mirror?.cpuSeconds() ?? 0;
  const pulled: (LinkPull & { layer: ExpectedBlob })[] = [];
  for (const layer of layers) {
    const got = await pull(near.place, (mirror ?? far).url, layer.manifest, layer.path);
    round.equal(`status of ${name}: ${layer.path}`, got.status, 200);
    round.equal(`length of ${name}: ${layer.path}`, got.bytes, layer.size);
    round.equal(`digest of ${name}: ${layer.path}`, got.digest, layer.digest);
    pulled.push({ ...got, layer });
  }
  if (mirror !== undefined) await atRest(mirror);
  const cpuSeconds = mirror && mirror.cpuSeconds() - atStart;
  // Before the link goes, so that the far registry learns of what is given up.
  await mirror?.stop();
  const asked = await far.asked(earlier);
  const pulls = pulled.map((one) => {
    const gets = asked.filter(
      ({ client, method, path }) => client === address && method === "GET" && path === one.layer.path,
    );
    return { ...one, requests: gets.length, upstreamBytes: gets.reduce((sum, { bytes }) => sum + bytes, 0) };
  });
  return { pulls, cpuSeconds, link: await near.remove() };
}

async function pull({ prefix }: Place, server: URL, manifest: string, layer: string): Promise<LinkPull> {
  const [enter = "env", ...into] = prefix;
  const urls = [manifest, layer].map((path) => new URL(path, server).href);
  const printed = await run(enter, [...into, process.execPath, clientProgram, ...urls], {
    timeout: longestPull,
  });
  return JSON.parse(printed) as LinkPull;
}
