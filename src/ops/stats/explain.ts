// What this node knows of one image: the tag's record, and of every manifest and layer whether it is here, since when,
// when it was last used and which repositories contain it. Upstream is never asked, and nothing counts as a use.
import type { Freshness } from "../../cache/freshness.ts";
import type { Digest } from "../../oci/digest.ts";
import { largestManifest, readManifest } from "../../oci/manifest.ts";
import { referenceText } from "../../oci/reference.ts";
import { type BlobStore, readWhole } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import type { BlobIndex, LinkStore, TagRecord, TagStore } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { count, size as sizeText } from "../page/format.ts";
import { type ImageReference, type NamedUpstream, parseImageReference } from "./image-reference.ts";
import type { ExplainedPart, Explanation } from "./stats-document.ts";

export interface ExplainOptions {
  /** Those of now, as are the rules. */
  readonly upstreams: () => readonly [NamedUpstream, ...NamedUpstream[]];
  readonly tags: Pick<TagStore, "get">;
  readonly freshness: () => Pick<Freshness, "ttl" | "state">;
  readonly index: Pick<BlobIndex, "get"> & { usedAt(digest: Digest): number | undefined };
  readonly links: Pick<LinkStore, "named"> & {
    repositoriesOf(digest: Digest, limit: number): readonly Scope[];
  };
  readonly store: Pick<BlobStore, "open" | "source"> & {
    storedAt(digest: Digest): Promise<number | undefined>;
  };
  /** Whether a download of it is under way. */
  readonly coming: (digest: Digest) => boolean;
  /** Names of other places than the disk that have it, such as `s3`; asked only for what is not on the disk. */
  readonly elsewhere?: (digest: Digest) => Promise<readonly string[]>;
  readonly clock: Clock;
}

/** Rejects with StoreError when the store or the index cannot be read. */
export type Explain = (reference: string) => Promise<Explanation>;

const maxParts = 500;
/** An index of indexes of images is deeper than any in use. */
const maxDepth = 4;
const maxRepositories = 10;

interface Wanted {
  readonly digest: Digest;
  readonly kind: ExplainedPart["kind"];
  readonly size: number | undefined;
  readonly depth: number;
}

export function createExplain(options: ExplainOptions): Explain {
  return async (text) => {
    const image = parseImageReference(text, options.upstreams());
    if (image === undefined) {
      const reason = "expected [upstream/]repository:tag or [upstream/]repository@sha256:…";
      return { schema: 1, kind: "unreadable", reference: text.slice(0, 500), reason };
    }
    const { upstream, repository, reference } = image;
    const record = reference.kind === "tag" ? await options.tags.get(image, reference.tag) : undefined;
    const digest = reference.kind === "digest" ? reference.digest : record?.digest;
    const { parts, truncated } = await explainParts(options, image, digest);
    return {
      schema: 1,
      kind: "explained",
      at: options.clock(),
      upstream,
      repository,
      reference: referenceText(reference),
      summary: digest === undefined ? "the tag is not known here; a pull asks upstream" : summaryOf(parts),
      tag: record === undefined ? null : tagOf(options, image, record),
      parts,
      truncated,
    };
  };
}

function tagOf(
  { freshness, clock }: ExplainOptions,
  image: ImageReference,
  record: TagRecord,
): (Explanation & { kind: "explained" })["tag"] {
  const rules = freshness();
  const ttl = rules.ttl(image, referenceText(image.reference));
  return {
    digest: record.digest,
    checkedAt: record.checkedAt,
    state: rules.state(record, ttl, clock()),
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
  { index, links, store, coming, elsewhere }: ExplainOptions,
  image: ImageReference,
  { digest, kind, size, depth }: Wanted,
): Promise<ExplainedPart> {
  const known = index.get(digest);
  const storedAt = await store.storedAt(digest);
  const where = storedAt === undefined ? ((await elsewhere?.(digest)) ?? []) : [store.source];
  return {
    digest,
    kind,
    depth,
    sizeBytes: known?.size ?? size ?? null,
    mediaType: known?.mediaType ?? null,
    state: where.length > 0 ? "here" : coming(digest) ? "coming" : "missing",
    where,
    storedAt: storedAt ?? null,
    usedAt: index.usedAt(digest) ?? null,
    linked: await links.named(image, digest),
    repositories: links
      .repositoriesOf(digest, maxRepositories)
      .map((link) => `${link.upstream}/${link.repository}`)
      .sort(),
  };
}

/** None when the body is not here: only it says what there is. */
async function childrenOf({ store, index }: ExplainOptions, { digest, depth }: Wanted): Promise<Wanted[]> {
  const blob = await store.open(digest);
  if (blob === undefined) return [];
  try {
    const body = blob.size > largestManifest ? Buffer.alloc(0) : await readWhole(blob, blob.size);
    const manifest = readManifest(body, index.get(digest)?.mediaType);
    if (typeof manifest === "string") return [];
    return manifest.children.map(({ role, ...child }) => ({
      ...child,
      kind: role === "manifest" ? "manifest" : "blob",
      depth: depth + 1,
    }));
  } finally {
    await blob.close();
  }
}

function summaryOf(parts: readonly ExplainedPart[]): string {
  const here = parts.filter(({ state }) => state === "here");
  const others = parts.filter(({ state }) => state !== "here");
  const bytes = (list: readonly ExplainedPart[]) =>
    sizeText(list.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0));
  if (others.length === 0) return `all of it is here: ${count(parts.length, "part")}, ${bytes(here)}`;
  const manifests = others.filter(({ kind }) => kind === "manifest").length;
  const missing =
    manifests > 0
      ? `${count(manifests, "manifest")} missing, and with it what it names`
      : `${bytes(others)} to be fetched`;
  return `${here.length} of ${count(parts.length, "part")} here, ${bytes(here)}; ${missing}`;
}
