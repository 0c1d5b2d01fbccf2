// Listings: tags and referrers as upstream has them, and the catalog of what this cache holds.
import type { OutgoingHttpHeaders } from "node:http";
import type { Listings } from "../cache/listings.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import type { Source } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import type { Upstream, UpstreamError } from "../ports/upstream.ts";
import type { TagsAnswer } from "../ports/upstream-answer.ts";
import { type Outcome, refused } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Router, TagFilter } from "./routing.ts";

/** Names in one answer, whatever the client asks for (CVE-2023-2253: `n` must not size an allocation). */
const largestPage = 1_000;
const defaultPage = 100;
/** Pages of the index read for one answer, where the configuration has come to deny what is held here. */
const maxCatalogLooks = 100;

/** How the client named the upstream and the repository, so that a next link leads back to both. */
export interface Origin {
  readonly prefix: string;
  readonly ns: string | undefined;
  readonly repository?: Repository;
}

/** `rule`: which tags clients may see; left out: all. */
export async function handleTags(
  exchange: Exchange,
  listings: Listings,
  upstream: Upstream,
  repository: Repository,
  page: Page,
  origin: Origin,
  rule?: TagFilter,
): Promise<Outcome> {
  // Pages are cut here where tags are left out, or a page could be empty and name a tag nobody may see as its last.
  const asked = rule === undefined ? page : await beginningFor(listings, upstream, repository, page);
  const listed = await listings.tags(upstream, repository, asked);
  if (listed.kind !== "found") return refused(exchange, listed);
  exchange.found({ ...listed, source: sourceOf(upstream, listed) });
  const { body, next } = tagsBody(listed.answer, page, origin, rule);
  const headers = { ...next, ...staleness(listed), ...listingHeaders };
  exchange.send(200, headers, body);
  return "served";
}

type TagsFound = Extract<TagsAnswer, { kind: "found" }>;

interface TagsBody {
  /** What it was made for. */
  readonly id: string;
  readonly body: Buffer;
  readonly next: { readonly link?: string };
}

/**
 * Of each list in memory, the answer that was made of it last: to write 30,000 tags as JSON takes 10 ms, to send them
 * again nothing. It goes with the list, whose size counts it.
 */
const bodies = new WeakMap<TagsFound, TagsBody>();

function tagsBody(answer: TagsFound, page: Page, origin: Origin, rule: TagFilter | undefined): TagsBody {
  const id = JSON.stringify([origin.repository, origin.prefix, origin.ns, page]);
  const made = bodies.get(answer);
  if (made?.id === id) return made;
  const { tags, more } = rule === undefined ? answer : cutPage(answer, page, rule);
  const path = `${origin.repository}/tags/list`;
  const next = more ? nextLink(origin, path, page.n ?? tags.length, tags.at(-1)) : {};
  const body = Buffer.from(JSON.stringify({ name: origin.repository, tags }));
  bodies.set(answer, { id, body, next });
  return { id, body, next };
}

/** The whole list; of one that goes on past what is collected of it, what comes after `page.last`. */
async function beginningFor(
  listings: Listings,
  upstream: Upstream,
  repository: Repository,
  { last }: Page,
): Promise<Page> {
  const whole = { n: undefined, last: undefined };
  if (last === undefined) return whole;
  const listed = await listings.tags(upstream, repository, whole);
  const beyond = listed.kind === "found" && listed.answer.more && last >= (listed.answer.tags.at(-1) ?? "");
  return beyond ? { n: undefined, last } : whole;
}

function cutPage(
  { tags, more }: TagsFound,
  { n, last }: Page,
  rule: TagFilter,
): Pick<TagsFound, "tags" | "more"> {
  const rest = tags.filter((tag) => (last === undefined || tag > last) && rule(tag));
  const page = rest.slice(0, n);
  return { tags: page, more: page.length > 0 && (page.length < rest.length || more) };
}

/** The index upstream answers, with its exact type: clients take another one for "not supported". */
export async function handleReferrers(
  exchange: Exchange,
  listings: Listings,
  upstream: Upstream,
  repository: Repository,
  digest: Digest,
  artifactType: string | undefined,
): Promise<Outcome> {
  const listed = await listings.referrers(upstream, repository, digest, artifactType);
  if (listed.kind !== "found") return refused(exchange, listed);
  exchange.found({ ...listed, source: sourceOf(upstream, listed) });
  const { body, filtersApplied } = listed.answer;
  const applied = filtersApplied === undefined ? {} : { "oci-filters-applied": filtersApplied };
  const headers = {
    ...listingHeaders,
    ...applied,
    ...staleness(listed),
    "content-type": mediaTypes.ociIndex,
  };
  exchange.send(200, headers, body);
  return "served";
}

function sourceOf(upstream: Upstream, { result }: { readonly result: string }): Source {
  return result === "hit" || result === "stale" ? "memory" : `upstream:${upstream.name}`;
}

/** Age always; a Warning, which containerd and podman show their users, when upstream could not be asked. */
function staleness({
  age,
  reason,
}: {
  readonly age: number;
  readonly reason: UpstreamError | undefined;
}): OutgoingHttpHeaders {
  const warning = `299 - "stale listing: the upstream registry failed (${reason?.code})"`;
  return { age: String(Math.floor(age / 1000)), ...(reason === undefined ? {} : { warning }) };
}

export interface CatalogOptions {
  readonly index: Pick<BlobIndex, "repositories">;
  readonly router: Pick<Router, "permits">;
}

export function handleCatalog(
  exchange: Exchange,
  { index, router }: CatalogOptions,
  upstream: Upstream,
  page: Page,
  origin: Origin,
): void {
  const size = Math.min(page.n ?? defaultPage, largestPage);
  const names: Repository[] = [];
  let last = page.last;
  for (let looks = 0; size > 0 && names.length <= size && looks < maxCatalogLooks; looks++) {
    const some = index.repositories(upstream.name, last, size + 1);
    names.push(...some.filter((name) => router.permits(upstream, name)));
    last = some.at(-1);
    if (some.length <= size) break;
  }
  const repositories = names.slice(0, size);
  // Made here of what the index knows: no answer of a cache.
  Object.assign(exchange.findings, { result: "hit", source: "disk" });
  const next = names.length > size && size > 0 ? nextLink(origin, "_catalog", size, repositories.at(-1)) : {};
  exchange.send(200, { ...next, ...listingHeaders }, JSON.stringify({ repositories }));
}

/** Path-absolute, with our own prefix: crane and oras insist on the same host, skopeo keeps only the path. */
function nextLink(origin: Origin, path: string, n: number, last: string | undefined): { link?: string } {
  if (last === undefined) return {};
  const query = new URLSearchParams({ n: String(n), last });
  if (origin.ns !== undefined) query.set("ns", origin.ns);
  const prefix = origin.prefix === "" ? "" : `/${origin.prefix}`;
  return { link: `<${prefix}/v2/${path}?${query}>; rel="next"` };
}

const listingHeaders = {
  "content-type": "application/json",
  "docker-distribution-api-version": "registry/2.0",
};
