// Which images clients have pulled from this node, for other nodes that fetch them, too: names and platforms, no rights. Who
// asks fetches them from the registry, or from S3, by its own rules.
import { setImmediate as turn } from "node:timers/promises";
import type { Digest } from "../../oci/digest.ts";
import { parseTag, type Tag } from "../../oci/name.ts";
import { parsePlatform } from "../../oci/platform.ts";
import type { Reference } from "../../oci/reference.ts";
import { imagesOf, withoutAttestations } from "../../ops/stats/image-parts.ts";
import type { Clock } from "../../ports/clock.ts";
import { maxPulledImages, type PulledImage, type PulledImages } from "../../ports/datacenter/nodes.ts";
import type { PageEnd } from "../../ports/datacenter/reported-images.ts";
import { idOfUpstream, type NamedUpstream } from "../../ports/datacenter/upstream-id.ts";
import type { ImageGraph, TagStore, UsedManifest } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { SingleFlight } from "../../ports/single-flight.ts";

export interface PulledImagesOptions {
  readonly graph: Pick<ImageGraph, "parts" | "pulled" | "users">;
  readonly tags: Pick<TagStore, "get">;
  /** Those of now. */
  readonly upstreams: () => readonly NamedUpstream[];
  readonly clock: Clock;
}

/** Manifests looked at in one turn of the event loop, and for one answer about some time. */
const perTurn = 50;
const maxManifests = 20_000;
/** Names of one image that are told. */
const maxNames = 10;
const maxPlatforms = 20;
const hour = 3_600_000;
const day = 24 * hour;
/** What is looked at first, in milliseconds: the images used last are wanted, and are found last. Then eight times as much. */
const firstSpan = 3 * hour;

/** Images of the last `days` days. Rejects with StoreError. */
export type ReadPulledImages = (days: number) => Promise<PulledImages>;

/** One answer is made at a time; who asks about the same days meanwhile gets it, too. */
export function createPulledImages(options: PulledImagesOptions): ReadPulledImages {
  const flights = new SingleFlight<PulledImages>();
  let before: Promise<unknown> = Promise.resolve();
  return async (days) =>
    await flights.run(`${days}`, () => {
      const read = before.then(() => pulledImages(options, days));
      before = read.catch(() => {});
      return read;
    }).promise;
}

async function pulledImages(options: PulledImagesOptions, days: number): Promise<PulledImages> {
  const now = options.clock();
  for (let span = firstSpan; ; span *= 8) {
    const since = now - Math.min(span, days * day);
    const { used, truncated } = await usedSince(options, since);
    if (used.length < maxPulledImages && span < days * day) continue;
    const images: PulledImage[] = [];
    let looked = 0;
    for (const image of used) {
      if (images.length >= maxPulledImages) break;
      if (looked++ % perTurn === 0) await turn();
      images.push(...(await namedOf(options, image, since)));
    }
    const leftOut = used.length - looked + Math.max(0, images.length - maxPulledImages) + (truncated ? 1 : 0);
    return { images: images.slice(0, maxPulledImages), leftOut };
  }
}

/** Those used last first. */
async function usedSince({ graph }: PulledImagesOptions, since: number) {
  const used = new Map<Digest, UsedManifest>();
  let after: PageEnd | undefined;
  let looked = 0;
  do {
    const page = graph.pulled(since, after, perTurn);
    // One that is used meanwhile comes again, later.
    for (const image of page.manifests) {
      used.delete(image.digest);
      used.set(image.digest, image);
    }
    looked += perTurn;
    after = page.next;
    await turn();
  } while (after !== undefined && looked < maxManifests);
  return { used: [...used.values()].reverse(), truncated: after !== undefined };
}

/** By each of its tags or, where there is none, in each of its repositories. Nothing for one of which no image is here. */
async function namedOf(
  { graph, tags, upstreams }: PulledImagesOptions,
  image: UsedManifest,
  since: number,
): Promise<PulledImage[]> {
  const platforms = platformsOf(graph, image, since);
  if (platforms === undefined) return [];
  const { digest } = image;
  const users = graph.users(digest, maxNames);
  const named: (Scope & { readonly reference: Reference })[] = [];
  for (const { upstream, repository, tag: text, digest: names } of users.tags) {
    const scope = { upstream, repository };
    const tag = parseTag(text);
    // By what another node has told since it may name another image.
    if (tag === undefined || names !== digest || (await recordOf(tags, scope, tag)) !== digest) continue;
    named.push({ ...scope, reference: { kind: "tag", tag } });
  }
  if (named.length === 0)
    named.push(
      ...users.repositories.map((scope) => ({ ...scope, reference: { kind: "digest", digest } as const })),
    );
  return named.flatMap(({ upstream: name, repository, reference }) => {
    const upstream = idOfUpstream(upstreams(), name);
    return upstream === undefined ? [] : [{ upstream, repository, reference, platforms }];
  });
}

async function recordOf(
  tags: PulledImagesOptions["tags"],
  scope: Scope,
  tag: Tag,
): Promise<Digest | undefined> {
  return (await tags.get(scope, tag))?.digest;
}

/** Of an index those that were pulled, or are here when none was; none stands for all. Undefined: no image of it is here. */
function platformsOf(
  graph: PulledImagesOptions["graph"],
  { digest, usedAt }: UsedManifest,
  since: number,
): readonly string[] | undefined {
  const images = withoutAttestations(imagesOf(graph, digest, usedAt));
  const here = images.filter((image) => image.usedAt !== undefined);
  if (here.length === 0) return undefined;
  const pulled = here.filter((image) => (image.usedAt ?? 0) >= since);
  const chosen = pulled.length > 0 ? pulled : here;
  const known = chosen.flatMap(({ platform = "" }) =>
    parsePlatform(platform) === undefined ? [] : [platform],
  );
  const isAll = chosen.length === images.length || known.length < chosen.length;
  return isAll ? [] : [...new Set(known)].slice(0, maxPlatforms);
}
