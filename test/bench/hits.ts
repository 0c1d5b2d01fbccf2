// Load of what a server has: as many manifests, and as many bytes of blobs, as it gives.
import { costOf } from "./cost.ts";
import { discard } from "./discarding-client.ts";
import type { Place } from "./place.ts";
import type { ExpectedBlob } from "./pulling.ts";
import type { Round } from "./round.ts";
import type { Server } from "./server.ts";
import { gigabyte } from "./size.ts";
import { wrk } from "./wrk.ts";

export interface HitLoad {
  readonly server: Server;
  /** Whose CPU counts, when others answer behind the server. */
  readonly nodes?: readonly Server[];
  readonly seconds: number;
  /** Kept open, with one request at a time on each. */
  readonly connections: number;
  /** Where the clients run. */
  readonly place: Place;
}

export interface AskedManifests {
  /** Asked for in turn. */
  readonly paths: readonly [string, ...string[]];
  readonly accept: string;
}

/** Work of one kind: how much of it a second, and CPU for one unit. */
export interface Figures {
  readonly rate: number;
  readonly cpu: number;
}

/** Requests a second, CPU µs a request. The first seconds show how a program warms up, not how it runs. */
export async function hitManifests(
  round: Round,
  { server, nodes = [server], ...load }: HitLoad,
  manifests: AskedManifests,
): Promise<Figures> {
  const { result, cpuSeconds } = await costOf(nodes, () => wrk({ base: server.url, ...manifests, ...load }));
  round.equal(`failed requests of ${server.name}`, result.failed, 0);
  return { rate: result.perSecond, cpu: (cpuSeconds / result.requests) * 1e6 };
}

/** GB/s, CPU s/GB, of blobs of one size that are asked for in turn. */
export async function hitBlobs(
  round: Round,
  { server, nodes = [server], ...load }: HitLoad,
  blobs: readonly ExpectedBlob[],
): Promise<Figures> {
  const paths = blobs.map(({ path }) => path);
  const { result, cpuSeconds } = await costOf(nodes, () => discard({ base: server.url, paths, ...load }));
  round.equal(`failed downloads of ${server.name}`, result.failed, 0);
  round.equal(`bytes of ${server.name}`, result.bytes, result.bodies * (blobs[0]?.size ?? 0));
  const gigabytes = result.bytes / gigabyte;
  return { rate: gigabytes / result.seconds, cpu: cpuSeconds / gigabytes };
}
