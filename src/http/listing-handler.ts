// Lists: the tags and referrers upstream has, and the catalog of what this cache holds.
import type { OutgoingHttpHeaders } from "node:http";
import type { Listings } from "../cache/listings.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import { type Pause, realPause } from "../ports/clock.ts";
import { maxNames, type Neighbours } from "../ports/datacenter/nodes.ts";
import { orAborted } from "../ports/deadline.ts";
import type { Source } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import type { RemoteRepository, Upstream, UpstreamError } from "../ports/upstream.ts";
import type { TagsAnswer } from "../ports/upstream-answer.ts";
import { type Outcome, refused, warning } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { Router, TagFilter } from "./routing.ts";

/** Most names in one answer, whatever the client asks for (CVE-2023-2253: `n` must not size an allocation). */
const largestPage = maxNames;
const defaultPage = 100;
/**
 * Most pages of the index read for one answer: more than one are needed when the configuration denies what is stored.
 */
const maxIndexPages = 100;
/** The same of another node's answers. */
const maxNodePages = 10;
/** Milliseconds for all pages of the other nodes. */
const timeForOthers = 1_000;

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
  /** Left out: real time. */
  readonly pause?: Pause;
}

/** Whether the caller may list a repository of the upstream. */
export type MayList = (repository: Repository) => boolean;

/**
 * The repositories of one upstream of which this cache, or that of another node, holds something that clients may have. `mayList`:
 * what this caller may list; left out: all of them.
 */
export async function handleCatalog(
  exchange: Exchange,
  options: CatalogOptions,
  upstream: Upstream,
  page: Page,
  address: ListAddress,
  mayList?: MayList,
): Promise<void> {
  const { index, router } = options;
  const size = Math.min(page.n ?? defaultPage, largestPage);
  const shown = (repository: Repository): boolean =>
    router.permits({ upstream: upstream.name, repository }) && mayList?.(repository) !== false;
  const wanted: Wanted = { after: page.last, count: size + 1, shown };
  const here: NamesAfter = (last, limit) => index.repositories(upstream.name, last, limit);
  const own = await collect(here, wanted, maxIndexPages);
  const theirs = size === 0 ? [] : await collectOthers(exchange, options, upstream.name, wanted);
  const { names, more, incomplete } = merged([own, ...theirs]);
  const repositories = names.slice(0, size);
  // No Cache-Status: the answer is made here of what the nodes know.
  Object.assign(exchange.findings, { result: "hit", source: "disk" });
  const isNext = size > 0 && (names.length > size || more);
  const next = isNext ? nextLink(address, "_catalog", size, repositories.at(-1)) : {};
  const silent = theirs.filter(({ answered }) => !answered).length;
  const warned =
    silent > 0
      ? { warning: warning(`without all repositories of ${silent} nodes that did not answer`) }
      : incomplete
        ? { warning: warning("without repositories that come after many that are not listed") }
        : {};
  exchange.send(200, { ...next, ...warned, ...listingHeaders }, JSON.stringify({ repositories }));
}

/** Names in order, after `last`, fewer than `limit` (at most `largestPage`) only when there are no more; undefined: not known. */
type NamesAfter = (
  last: Repository | string | undefined,
  limit: number,
) => readonly Repository[] | undefined | Promise<readonly Repository[] | undefined>;

interface Wanted {
  readonly after: string | undefined;
  readonly count: number;
  readonly shown: (repository: Repository) => boolean;
}

interface Collected {
  /** The first that are shown, as many as are wanted at most. */
  readonly names: readonly Repository[];
  /** The last name looked at, where there may be more behind it, and more were wanted. */
  readonly cutAt: string | undefined;
  /** False: of another node, which has not said all that it was asked for. */
  readonly answered: boolean;
}

const silence: Collected = { names: [], cutAt: undefined, answered: false };

/** So many pages at most. */
async function collect(
  names: NamesAfter,
  { after, count, shown }: Wanted,
  maxPages: number,
): Promise<Collected> {
  const found: Repository[] = [];
  let last = after;
  for (let pages = 0; pages < maxPages && found.length < count; pages++) {
    const limit = pages === 0 ? Math.min(count, largestPage) : largestPage;
    const some = await names(last, limit);
    if (some === undefined) return pages === 0 ? silence : { names: found, cutAt: last, answered: false };
    found.push(...some.filter(shown));
    if (some.length < limit) return { names: found.slice(0, count), cutAt: undefined, answered: true };
    last = some.at(-1);
  }
  const isEnough = found.length >= count;
  return { names: found.slice(0, count), cutAt: isEnough ? undefined : last, answered: true };
}

/** What the other nodes say within a second in all; nobody is asked any more once the client has left. */
async function collectOthers(
  exchange: Exchange,
  { neighbours, pause = realPause }: CatalogOptions,
  upstream: string,
  wanted: Wanted,
): Promise<readonly Collected[]> {
  const others = neighbours?.list() ?? [];
  const nodes = neighbours?.nodes;
  if (others.length === 0 || nodes === undefined) return others.map(() => silence);
  const over = new AbortController();
  const waiting = new AbortController();
  pause(timeForOthers, waiting.signal).then(
    () => over.abort(),
    () => {},
  );
  const forget = exchange.onOver(() => over.abort());
  const { signal } = over;
  const asked = others.map(async ({ address }) => {
    if (address === null) return silence;
    const there: NamesAfter = async (last, limit) => {
      if (signal.aborted) return undefined;
      return await orAborted(nodes.repositories(address, upstream, last, limit), signal).catch(
        () => undefined,
      );
    };
    return await collect(there, wanted, maxNodePages);
  });
  try {
    return await Promise.all(asked);
  } finally {
    forget();
    waiting.abort();
  }
}

/**
 * All names in order. Where one of the parts was cut, those of the others that come after the cut are for the next page (`more`),
 * which begins at the last name that is shown: those looked at are not for everybody. When none comes before the cut there is no
 * such name, and the list goes on without that part (`incomplete`).
 */
function merged(parts: readonly Collected[]) {
  const names = [...new Set(parts.flatMap((part) => part.names))].sort();
  const cuts = parts.flatMap(({ cutAt }) => cutAt ?? []).sort();
  const [cut] = cuts;
  const before = cut === undefined ? [] : names.filter((name) => name <= cut);
  return before.length > 0
    ? { names: before, more: true, incomplete: false }
    : { names, more: false, incomplete: cut !== undefined };
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
