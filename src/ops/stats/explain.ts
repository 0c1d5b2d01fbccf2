// What this node knows of one image: the tag's record, and of every manifest and layer whether it is here, since when,
// when it was last used and hashed and who uses it, what a pull would fetch, and what it would come to without upstream.
// Upstream is never asked, and nothing counts as a use.
import type { Freshness } from "../../cache/freshness.ts";
import type { Digest } from "../../oci/digest.ts";
import { largestManifest, type Role, readManifest } from "../../oci/manifest.ts";
import type { Tag } from "../../oci/name.ts";
import { referenceText } from "../../oci/reference.ts";
import { type BlobInfo, type BlobStore, readWhole } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import type { BlobIndex, ImageGraph, LinkStore, TagRecord, TagStore } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import type { TagReport } from "../history/tag-report.ts";
import { count, size as sizeText } from "../page/format.ts";
import { dockerPullOf } from "./docker-pull.ts";
import type { Elsewhere } from "./elsewhere.ts";
import { partsOfAll } from "./explain-nodes.ts";
import { type ImageParts, imagesOf, withoutAttestations } from "./image-parts.ts";
import {
  type ImageReference,
  longestReference,
  parseImageReference,
  type ReferenceNames,
} from "./image-reference.ts";
import type { ExplainedImage, ExplainedPart, Explanation } from "./stats-document.ts";
import { verifiedFile } from "./verified-file.ts";

export interface ExplainOptions {
  /** Those of now, as are the rules. */
  readonly names: () => ReferenceNames;
  readonly tags: Pick<TagStore, "get">;
  readonly freshness: () => Pick<Freshness, "ttl" | "state">;
  readonly index: Pick<BlobIndex, "get"> & { usedAt(digest: Digest): number | undefined };
  readonly links: Pick<LinkStore, "named"> & {
    repositoriesOf(digest: Digest, limit: number): readonly Scope[];
  };
  readonly graph: Pick<ImageGraph, "parts" | "users">;
  readonly store: Pick<BlobStore, "open" | "source"> & {
    info(digest: Digest): Promise<BlobInfo | undefined>;
  };
  /** Whether memory holds all of it. */
  readonly inMemory: (digest: Digest) => boolean;
  /** Whether the repository may read it without upstream; see Access.linked. */
  readonly mayRead: (scope: Scope, digest: Digest) => boolean | Promise<boolean>;
  /** Bytes a millisecond that lately came from an upstream; undefined: nothing did. */
  readonly fetchRate: (upstream: string) => number | undefined;
  /** Names of the mirrors of other datacenters that are asked before the upstream, in this order; left out: there are none. */
  readonly siblings?: (upstream: string) => readonly string[];
  /** Whether a download of it is under way. */
  readonly coming: (digest: Digest) => boolean;
  /** Begins the questions of one answer about what is not on the disk. Left out: there is no other place. */
  readonly elsewhere?: () => Elsewhere;
  /** Left out: there are no other nodes. */
  readonly neighbours?: () => Neighbours | undefined;
  /** What the nodes have seen a tag name. Rejects with StoreError. Left out: nothing is known of that. */
  readonly stays?: (scope: Scope, tag: Tag) => Promise<Pick<TagReport, "stays" | "silentNodes">>;
  readonly clock: Clock;
  /** How clients reach the mirror. */
  readonly mirrorUrl: () => string;
  /** Why it is given to nobody, as clients are told; undefined: it is not refused. Left out: nothing is. Throws StoreError. */
  readonly refused?: (digest: Digest) => string | undefined;
}

/** Rejects with StoreError when the store or the index cannot be read. */
export type Explain = (reference: string) => Promise<Explanation>;

const maxParts = 500;
/** An index of indexes of images is deeper than any in use. */
const maxDepth = 4;
const maxUsers = 10;

type Explained = Explanation & { kind: "explained" };

type IndexedPart = Pick<ImageParts, "digest" | "usedAt">;

interface Wanted {
  readonly digest: Digest;
  readonly kind: ExplainedPart["kind"];
  readonly role?: Role;
  readonly platform?: string | undefined;
  readonly size: number | undefined;
  readonly depth: number;
}

export function createExplain(options: ExplainOptions): Explain {
  return async (text) => {
    const image = parseImageReference(text, options.names());
    if ("problem" in image)
      return {
        schema: 1,
        kind: "unreadable",
        reference: text.slice(0, longestReference),
        reason: image.problem,
      };
    const { upstream, repository, reference, chosenBy } = image;
    const record = reference.kind === "tag" ? await options.tags.get(image, reference.tag) : undefined;
    const digest = reference.kind === "digest" ? reference.digest : record?.digest;
    const found = await explainParts(options, image, digest);
    const { truncated } = found;
    const shared = await partsElsewhere(found.parts, options.elsewhere?.());
    const refused = digest && options.refused?.(digest);
    const { parts, silent: withoutParts } = await partsOfAll(shared.parts, options.neighbours?.());
    const seen = reference.kind === "tag" ? await options.stays?.(image, reference.tag) : undefined;
    const silent = [...new Set([...withoutParts, ...(seen?.silentNodes ?? [])])].sort();
    const tag = record === undefined ? null : tagOf(options, image, record);
    const stores = shared.silent ? ["S3"] : [];
    const outlook = await outlookOf(options, image, digest, parts, tag, silentText(stores));
    return {
      schema: 1,
      kind: "explained",
      at: options.clock(),
      upstream,
      repository,
      reference: referenceText(reference),
      chosenBy,
      summary:
        digest === undefined
          ? "the tag is not known here; a pull asks upstream"
          : `${refused === undefined ? "" : `given to nobody: ${refused}; `}${summaryOf(parts)}${silentText([...stores, ...silent])}`,
      silentNodes: silent,
      dockerPull: dockerPullOf(image, options.names(), options.mirrorUrl()),
      tag,
      stays: seen?.stays ?? [],
      parts,
      truncated,
      ...outlook,
    };
  };
}

function tagOf(
  { freshness, clock }: ExplainOptions,
  image: ImageReference,
  record: TagRecord,
): NonNullable<Explained["tag"]> {
  const rules = freshness();
  const ttl = rules.ttl(image, referenceText(image.reference));
  return {
    digest: record.digest,
    checkedAt: record.checkedAt,
    state: rules.state(image, record, ttl, clock()),
    ttlMs: Number.isFinite(ttl) ? ttl : null,
  };
}

/** Each manifest before what it names. */
async function explainParts(
  options: ExplainOptions,
  image: ImageReference,
  digest: Digest | undefined,
): Promise<{ parts: readonly ExplainedPart[]; truncated: boolean }> {
  const parts: ExplainedPart[] = [];
  const seen = new Set<Digest>();
  const known = digest && options.index.get(digest);
  const kind = known !== undefined && known.mediaType === undefined ? "blob" : "manifest";
  const wanted: Wanted[] = digest === undefined ? [] : [{ digest, kind, size: undefined, depth: 0 }];
  for (let next = wanted.shift(); next !== undefined; next = wanted.shift()) {
    if (seen.has(next.digest)) continue;
    if (parts.length === maxParts) return { parts, truncated: true };
    seen.add(next.digest);
    parts.push(await explainPart(options, image, next));
    if (next.kind === "manifest" && next.depth < maxDepth)
      wanted.unshift(...(await childrenOf(options, next)));
  }
  return { parts, truncated: false };
}

async function explainPart(
  { index, links, graph, store, inMemory, coming }: ExplainOptions,
  image: ImageReference,
  { digest, kind, role, platform, size, depth }: Wanted,
): Promise<ExplainedPart> {
  const stored = await verifiedFile(store, index, digest);
  const known = index.get(digest);
  const where = [...(inMemory(digest) ? ["memory"] : []), ...(stored === undefined ? [] : [store.source])];
  return {
    digest,
    kind,
    role: role ?? null,
    platform: platform ?? null,
    depth,
    sizeBytes: known?.size ?? size ?? null,
    mediaType: known?.mediaType ?? null,
    state: where.length > 0 ? "here" : coming(digest) ? "coming" : "missing",
    where,
    storedAt: stored?.modifiedAt ?? null,
    usedAt: index.usedAt(digest) ?? null,
    // 0, of rows of older versions, is long ago.
    checkedAt: known?.checkedAt || null,
    linked: await links.named(image, digest),
    repositories: links
      .repositoriesOf(digest, maxUsers)
      .map((link) => `${link.upstream}/${link.repository}`)
      .sort(),
    tags: graph
      .users(digest, maxUsers)
      .tags.map(({ upstream, repository, tag }) => `${upstream}/${repository}:${tag}`)
      .sort(),
  };
}

/** The parts, with where else those are that are not here; `silent`: of some that is not known. */
async function partsElsewhere(
  parts: readonly ExplainedPart[],
  elsewhere: Elsewhere | undefined,
): Promise<{ readonly parts: readonly ExplainedPart[]; readonly silent: boolean }> {
  const absent = parts.filter(({ where }) => where.length === 0).map(({ digest }) => digest as Digest);
  if (elsewhere === undefined || absent.length === 0) return { parts, silent: false };
  const places = await elsewhere(absent);
  const known = parts.map((part): ExplainedPart => {
    const where = places.get(part.digest as Digest) ?? [];
    return part.where.length > 0 || where.length === 0 ? part : { ...part, state: "here", where };
  });
  return { parts: known, silent: absent.some((digest) => !places.has(digest)) };
}

/** None when the body is not here: only it says what there is. */
async function childrenOf({ store, index }: ExplainOptions, { digest, depth }: Wanted): Promise<Wanted[]> {
  const blob = await store.open(digest);
  if (blob === undefined) return [];
  try {
    const body = blob.size > largestManifest ? Buffer.alloc(0) : await readWhole(blob, blob.size);
    const manifest = readManifest(body, index.get(digest)?.mediaType);
    if (typeof manifest === "string") return [];
    return manifest.children.map((child) => ({
      ...child,
      kind: child.role === "manifest" ? "manifest" : "blob",
      depth: depth + 1,
    }));
  } finally {
    await blob.close();
  }
}

/** `unknown`: what stands after parts that are not here, when it is not known of every place. */
async function outlookOf(
  options: ExplainOptions,
  scope: ImageReference,
  digest: Digest | undefined,
  parts: readonly ExplainedPart[],
  tag: Explained["tag"],
  unknown: string,
): Promise<Pick<Explained, "images" | "whole" | "pull" | "withoutUpstream">> {
  const { graph, index, fetchRate } = options;
  const states = new Map<string, ExplainedPart>(parts.map((part) => [part.digest, part]));
  const order = new Map<string, number>(parts.map((part, at) => [part.digest, at]));
  const place = ({ digest }: ImageParts): number => order.get(digest) ?? parts.length;
  // In the order of the index, as are the parts.
  const found = (digest === undefined ? [] : imagesOf(graph, digest, index.usedAt(digest))).toSorted(
    (a, b) => place(a) - place(b),
  );
  // Of a part that is not among the first 500 by what the index says.
  const stateOf = ({ digest: of, usedAt }: IndexedPart): ExplainedPart["state"] =>
    states.get(of)?.state ?? (usedAt === undefined ? "missing" : "here");
  const isHere = (part: IndexedPart): boolean => stateOf(part) === "here";
  const explained = (image: ImageParts): ExplainedImage => explainImage(image, isHere);
  const wanted = withoutAttestations(found);
  const outlooks = wanted.map(explained);
  const present = outlooks.filter(({ state }) => state !== "absent");
  const whole = present.length > 0 && present.every(({ state }) => state === "whole");
  const fetched = new Map(
    found
      .filter(isHere)
      .flatMap((image) => image.parts)
      .filter((part) => stateOf(part) === "missing")
      .map((part) => [part.digest, part.size]),
  );
  const bytes = [...fetched.values()].reduce<number>((sum, size) => sum + (size ?? 0), 0);
  const complete = present.length > 0 && ![...fetched.values()].includes(undefined);
  const rate = fetchRate(scope.upstream);
  const durationMs = rate === undefined || rate === 0 ? null : bytes / rate;
  return {
    images: found.map(explained),
    whole,
    pull: { bytes, complete, durationMs, siblings: options.siblings?.(scope.upstream) ?? [] },
    withoutUpstream: await withoutUpstream(options, scope, tag, wanted, outlooks, unknown),
  };
}

function explainImage(image: ImageParts, isHere: (part: IndexedPart) => boolean): ExplainedImage {
  const { digest, platform, parts } = image;
  const missing = parts.filter((part) => !isHere(part));
  const absent = !isHere(image);
  const sizes = missing.map(({ size }) => size);
  return {
    digest,
    platform: platform ?? null,
    state: absent ? "absent" : missing.length === 0 ? "whole" : "partly",
    missingParts: missing.length,
    missingBytes:
      absent || sizes.includes(undefined) ? null : sizes.reduce<number>((a, b) => a + (b ?? 0), 0),
  };
}

async function withoutUpstream(
  { mayRead }: ExplainOptions,
  scope: ImageReference,
  tag: Explained["tag"],
  found: readonly ImageParts[],
  images: readonly ExplainedImage[],
  unknown: string,
): Promise<Explained["withoutUpstream"]> {
  const not = (why: string): Explained["withoutUpstream"] => ({ served: false, why });
  if (scope.reference.kind === "tag" && tag === null) return not("the tag is not known here");
  if (tag?.state === "expired")
    return not(
      "upstream confirmed the tag longer ago than tags.staleIfError allows; by its digest it may be served",
    );
  const whole = found.filter((_, at) => images[at]?.state === "whole");
  if (whole.length === 0) {
    const partly = images.find(({ state }) => state === "partly");
    if (partly === undefined) return not(`its manifest is not here${unknown}`);
    return not(
      `${count(partly.missingParts, "part")} of it ${partly.missingParts === 1 ? "is" : "are"} not here${unknown}`,
    );
  }
  for (const { digest, parts } of whole)
    for (const each of [digest, ...parts.map((part) => part.digest)])
      if (!(await mayRead(scope, each)))
        return not(`only upstream can say that ${scope.repository} has ${each}`);
  const platforms = whole.flatMap(({ platform }) => platform ?? []);
  const others = images.length - whole.length;
  const which =
    platforms.length > 0 && others > 0 ? `for ${platforms.join(", ")}, and for no other platform` : "";
  return { served: true, why: `all of it is here${which === "" ? "" : ` ${which}`}` };
}

function silentText(nodes: readonly string[]): string {
  return nodes.length === 0 ? "" : `; not known of ${nodes.join(", ")}`;
}

function summaryOf(parts: readonly ExplainedPart[]): string {
  const here = parts.filter(({ state }) => state === "here");
  const others = parts.filter(({ state }) => state !== "here");
  const bytes = (list: readonly ExplainedPart[]) =>
    sizeText(list.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0));
  // What it names only the node knows that has it on its disk.
  const far = here.find(
    ({ kind, where }) => kind === "manifest" && where.every((place) => place.startsWith("node ")),
  );
  if (far !== undefined)
    return `${here.length} of ${count(parts.length, "part")} here, ${bytes(here)}; ask ${far.where[0]} what ${far.digest} names`;
  if (others.length === 0) return `all of it is here: ${count(parts.length, "part")}, ${bytes(here)}`;
  const manifests = others.filter(({ kind }) => kind === "manifest").length;
  const missing =
    manifests > 0
      ? `${count(manifests, "manifest")} missing, and with it what it names`
      : `${bytes(others)} to be fetched`;
  return `${here.length} of ${count(parts.length, "part")} here, ${bytes(here)}; ${missing}`;
}
