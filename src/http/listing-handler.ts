// Listings: tags and referrers as upstream has them, and the catalog of what this cache holds.
import type { OutgoingHttpHeaders } from "node:http";
import type { Listings } from "../cache/listings.ts";
import type { BlobIndex, Upstream, UpstreamError } from "../cache/ports.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import type { Source } from "../telemetry/event.ts";
import type { Exchange } from "./exchange.ts";
import { type Outcome, refused } from "./outcome.ts";

/** Names in one answer, whatever the client asks for (CVE-2023-2253: `n` must not size an allocation). */
const largestPage = 1_000;
const defaultPage = 100;

/** How the client named the upstream and the repository, so that a next link leads back to both. */
export interface Origin {
  readonly prefix: string;
  readonly ns: string | undefined;
  readonly repository?: Repository;
}

export async function handleTags(
  exchange: Exchange,
  listings: Listings,
  upstream: Upstream,
  repository: Repository,
  page: Page,
  origin: Origin,
): Promise<Outcome> {
  const listed = await listings.tags(upstream, repository, page);
  if (listed.kind !== "found") return refused(exchange, listed);
  exchange.found({ ...listed, source: sourceOf(upstream, listed) });
  const { tags, more } = listed.answer;
  const next = more
    ? nextLink(origin, `${origin.repository}/tags/list`, page.n ?? tags.length, tags.at(-1))
    : {};
  const headers = { ...next, ...staleness(listed), ...listingHeaders };
  exchange.send(200, headers, JSON.stringify({ name: origin.repository, tags }));
  return "served";
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

export function handleCatalog(
  exchange: Exchange,
  index: Pick<BlobIndex, "repositories">,
  upstream: Upstream,
  page: Page,
  origin: Origin,
): void {
  const size = Math.min(page.n ?? defaultPage, largestPage);
  const names = size === 0 ? [] : index.repositories(upstream.name, page.last, size + 1);
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
