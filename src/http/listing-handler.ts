// Lists: the tags and referrers upstream has, and the catalog of what this cache holds.
import type { OutgoingHttpHeaders } from "node:http";
import type { Listings } from "../cache/listings.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import type { Neighbours } from "../ports/datacenter/nodes.ts";
import type { Source } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import { peerHeader } from "../ports/shared.ts";
import type { RemoteRepository, Upstream, UpstreamError } from "../ports/upstream.ts";
import type { TagsAnswer } from "../ports/upstream-answer.ts";
import { type Outcome, refused, warning } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Router, TagFilter } from "./routing.ts";

/** Most names in one answer, whatever the client asks for (CVE-2023-2253: `n` must not size an allocation). */
const largestPage = 1_000;
const defaultPage = 100;
/**
 * Most pages of the index read for one answer: more than one are needed when the configuration denies what is stored.
 */
const maxIndexPages = 100;
/** The same of another node's answers. */
const maxNodePages = 10;

/** How the client named the upstream and the repository, so that the link to the next page leads back to both. */
export interface ListAddress {
  /** See Exchange. */
  readonly basePath: string;
  readonly prefix: string;
  readonly ns: string | undefined;
  readonly repository?: Repository;
}

/**
 * The tags upstream has, of which clients see those that `filter` lets through; all when it is left out. `ofCaller`: the
 * filter is that of one caller.
 */
export async function handleTags(
  exchange: Exchange,
  listings: Listings,
  remote: RemoteRepository,
  page: Page,
  address: ListAddress,
  filter?: TagFilter,
  ofCaller = false,
): Promise<Outcome> {
  // With a filter pages are cut here: a page of upstream's could be empty, or its last tag one that clients may not
  // see.
  const asked = filter === undefined ? page : await beginningFor(listings, remote, page);
  const listed = await listings.tags(remote, asked);
  if (listed.kind !== "found") return refused(exchange, listed);
  exchange.found({ ...listed, source: sourceOf(remote, listed) });
  const { body, next } = tagsBody(listed.answer, page, address, filter, ofCaller);
  const headers = { ...next, ...staleness(listed), ...listingHeaders };
  exchange.send(200, headers, body);
  return "served";
}

type TagsFound = Extract<TagsAnswer, { kind: "found" }>;

interface TagsBody {
  /** Repository and page it was made for. */
  readonly id: string;
  readonly body: Buffer;
  readonly next: { readonly link?: string };
}

/**
 * The last answer made of each list in memory, because writing a long list as JSON takes long. It is freed with the
 * list, whose counted size includes it.
 */
const bodies = new WeakMap<TagsFound, TagsBody>();

function tagsBody(
  answer: TagsFound,
  page: Page,
  address: ListAddress,
  filter: TagFilter | undefined,
  ofCaller: boolean,
): TagsBody {
  const id = JSON.stringify([address.repository, address.basePath, address.prefix, address.ns, page]);
  const made = ofCaller ? undefined : bodies.get(answer);
  if (made?.id === id) return made;
  const { tags, more } = filter === undefined ? answer : cutPage(answer, page, filter);
  const path = `${address.repository}/tags/list`;
  const next = more ? nextLink(address, path, page.n ?? tags.length, tags.at(-1)) : {};
  const body = Buffer.from(JSON.stringify({ name: address.repository, tags }));
  if (!ofCaller) bodies.set(answer, { id, body, next });
  return { id, body, next };
}

/**
 * The page to ask for: the whole list or, when `page.last` is beyond what is collected of it, what comes after that
 * tag.
 */
async function beginningFor(listings: Listings, remote: RemoteRepository, { last }: Page): Promise<Page> {
  const whole = { n: undefined, last: undefined };
  if (last === undefined) return whole;
  const listed = await listings.tags(remote, whole);
  const beyond = listed.kind === "found" && listed.answer.more && last >= (listed.answer.tags.at(-1) ?? "");
  return beyond ? { n: undefined, last } : whole;
}

function cutPage(
  { tags, more }: TagsFound,
  { n, last }: Page,
  filter: TagFilter,
): Pick<TagsFound, "tags" | "more"> {
  const rest = tags.filter((tag) => (last === undefined || tag > last) && filter(tag));
  const page = rest.slice(0, n);
  return { tags: page, more: page.length > 0 && (page.length < rest.length || more) };
}

/** The index upstream answers, with its exact media type: clients take any other one for "not supported". */
export async function handleReferrers(
  exchange: Exchange,
  listings: Listings,
  remote: RemoteRepository,
  digest: Digest,
  artifactType: string | undefined,
): Promise<Outcome> {
  const listed = await listings.referrers(remote, digest, artifactType);
  if (listed.kind !== "found") return refused(exchange, listed);
  exchange.found({ ...listed, source: sourceOf(remote, listed) });
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

function sourceOf({ upstream }: Scope, { result }: { readonly result: string }): Source {
  return result === "hit" || result === "stale" ? "memory" : `upstream:${upstream}`;
}

/** Age and, when upstream could not be asked, a Warning. */
function staleness({
  age,
  reason,
}: {
  readonly age: number;
  readonly reason: UpstreamError | undefined;
}): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = { age: String(Math.floor(age / 1000)) };
  if (reason !== undefined)
    headers.warning = warning(`stale listing: the upstream registry failed (${reason.code})`);
  return headers;
}

export interface CatalogOptions {
  readonly index: Pick<BlobIndex, "repositories">;
  readonly router: Pick<Router, "permits">;
  /** Left out: there are no other nodes. */
  readonly neighbours?: Neighbours | undefined;
}

/** Whether the caller may list a repository of the upstream. */
export type MayList = (repository: Repository) => boolean;

/**
 * The repositories of one upstream of which this cache, or that of another node, holds something that clients may have. Another
 * node is told of this one's alone. `mayList`: what this caller may list; left out: all of them.
 */
export async function handleCatalog(
  exchange: Exchange,
  { index, router, neighbours }: CatalogOptions,
  upstream: Upstream,
  page: Page,
  address: ListAddress,
  mayList?: MayList,
): Promise<void> {
  const size = Math.min(page.n ?? defaultPage, largestPage);
  const shown = (repository: Repository): boolean =>
    router.permits({ upstream: upstream.name, repository }) && mayList?.(repository) !== false;
  const here: NamesAfter = (last, limit) => index.repositories(upstream.name, last, limit);
  const own = await collect(here, page.last, size + 1, shown, maxIndexPages);
  const isNode = exchange.header(peerHeader) !== undefined;
  const others = isNode || size === 0 ? [] : (neighbours?.list() ?? []);
  const silent: string[] = [];
  const theirs = others.map(async ({ name, address }) => {
    const { nodes } = neighbours ?? {};
    try {
      if (nodes === undefined || address === null) throw new Error("it cannot be asked");
      const there: NamesAfter = (last, limit) => nodes.repositories(address, upstream.name, last, limit);
      return await collect(there, page.last, size + 1, shown, maxNodePages);
    } catch {
      silent.push(name);
      return [];
    }
  });
  const names = [...new Set([own, ...(await Promise.all(theirs))].flat())].sort();
  const repositories = names.slice(0, size);
  // No Cache-Status: the answer is made here of what the nodes know.
  Object.assign(exchange.findings, { result: "hit", source: "disk" });
  const next =
    names.length > size && size > 0 ? nextLink(address, "_catalog", size, repositories.at(-1)) : {};
  const incomplete = `without the repositories of nodes that did not answer: ${silent.sort().join(" ")}`;
  const warned = silent.length > 0 ? { warning: warning(incomplete) } : {};
  exchange.send(200, { ...next, ...warned, ...listingHeaders }, JSON.stringify({ repositories }));
}

/** Names in order, after `last`, fewer than `limit` (at most `largestPage`) only when there are no more. */
type NamesAfter = (
  last: Repository | string | undefined,
  limit: number,
) => readonly Repository[] | Promise<readonly Repository[]>;

/** The first `wanted` names that are shown, from so many pages at most. */
async function collect(
  names: NamesAfter,
  after: string | undefined,
  wanted: number,
  shown: (repository: Repository) => boolean,
  maxPages: number,
): Promise<readonly Repository[]> {
  const found: Repository[] = [];
  const limit = Math.min(wanted, largestPage);
  let last = after;
  for (let pages = 0; found.length < wanted && pages < maxPages; pages++) {
    const some = await names(last, limit);
    found.push(...some.filter(shown));
    last = some.at(-1);
    if (some.length < limit) break;
  }
  return found.slice(0, wanted);
}

/**
 * A path with the client's own prefix, and no host: crane and oras insist on the same host, skopeo keeps only the path.
 */
function nextLink(
  address: ListAddress,
  path: string,
  n: number,
  last: string | undefined,
): { link?: string } {
  if (last === undefined) return {};
  const query = new URLSearchParams({ n: String(n), last });
  if (address.ns !== undefined) query.set("ns", address.ns);
  const prefix = address.prefix === "" ? "" : `/${address.prefix}`;
  return { link: `<${address.basePath}${prefix}/v2/${path}?${query}>; rel="next"` };
}

const listingHeaders = {
  "content-type": "application/json",
  "docker-distribution-api-version": "registry/2.0",
};
