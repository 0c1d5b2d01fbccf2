// Mirrors behind HAProxy, each with its own disk.
import { makeImage } from "../fixtures/images.ts";
import { Content } from "../system/fixtures/content.ts";
import { startBalancer } from "./balancer.ts";
import { type FarRepository, repositoryOf } from "./far-content.ts";
import type { FarRegistry } from "./far-registry.ts";
import type { AskedManifests, HitLoad } from "./hits.ts";
import { entrepot } from "./peer.ts";
import { type ExpectedBlob, fetchesOf, pull, pullBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import type { Server } from "./server.ts";

/** Enough that each of three nodes gets about its part of them. */
const repositoryCount = 64;
const blobCount = 32;

/** What is asked for behind HAProxy. */
export interface NodeContent {
  readonly repositories: readonly FarRepository[];
  readonly manifests: AskedManifests;
  readonly blobs: readonly ExpectedBlob[];
}

/** Blobs of so many bytes. */
export function makeNodeContent(blobSize: number): NodeContent {
  const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);
  const images = numbers(repositoryCount).map((at) => {
    const image = makeImage({ seed: `balanced nodes ${at}`, layers: Array.from({ length: 8 }, () => 64) });
    return { name: `bench/nodes-${at}`, image };
  });
  const blobs = numbers(blobCount).map((at) => new Content(`balanced nodes ${at}`, blobSize));
  const paths = images.map(({ name, image }) => `/v2/${name}/manifests/${image.digest}`);
  return {
    repositories: images.map(({ name, image }, at) => repositoryOf(name, "1", image, at === 0 ? blobs : [])),
    manifests: { paths: paths as [string, ...string[]], accept: images[0]?.image.mediaType ?? "*/*" },
    blobs: blobs.map(({ digest, size }) => ({ path: `/v2/bench/nodes-0/blobs/${digest}`, digest, size })),
  };
}

export interface BalancedNodes extends Pick<HitLoad, "server" | "nodes" | "place"> {
  readonly nodes: readonly Server[];
  stop(): Promise<void>;
}

/** So many nodes, three at most, which have all of the content, each what HAProxy gives to it; upstream is asked once. */
export async function startBalancedNodes(
  round: Round,
  far: FarRegistry,
  count: number,
  { repositories, manifests, blobs }: NodeContent,
): Promise<BalancedNodes> {
  const nodes: Server[] = [];
  for (const place of round.places.mirrors.slice(0, count))
    nodes.push(await round.startPeer(entrepot, far.url, place));
  const place = round.places.loadBeside(count);
  const server = await round.stopping(
    startBalancer({
      nodes: nodes.map(({ url }) => url),
      directory: await round.directory(),
      place,
    }),
  );
  const before = (await far.asked()).length;
  const images = repositories.flatMap((repository) => repository.manifests);
  for (const [at, path] of manifests.paths.entries())
    await pull(round, server, path, images[at] ?? { digest: "" });
  for (const blob of blobs) await pullBlob(round, server, blob);
  const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
  const fetched = fetchesOf(await far.asked(before), ...blobs).bytes;
  round.within(`upstream's bytes for ${count} nodes`, fetched / bytes, 1, 1.02);
  const stop = async (): Promise<void> => {
    for (const each of [server, ...nodes]) await each.stop();
  };
  return { server, nodes, place, stop };
}
