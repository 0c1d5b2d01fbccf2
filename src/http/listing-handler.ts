// Listings: the tags of a repository, as upstream has them now, and the catalog of what this cache holds.
import type { BlobIndex, Upstream } from "../cache/ports.ts";
import type { Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import { fail, failures } from "./error.ts";
import type { Exchange } from "./exchange.ts";

/** Names in one answer, whatever the client asks for (CVE-2023-2253: `n` must not size an allocation). */
const largestPage = 1_000;
const defaultPage = 100;

/** Where the request stood, so that a next link leads back to the same upstream. */
export interface Origin {
  readonly prefix: string;
  readonly ns: string | undefined;
}

export async function handleTags(
  exchange: Exchange,
  upstream: Upstream,
  repository: Repository,
  page: Page,
  origin: Origin,
): Promise<void> {
  const answer = await upstream.listTags(repository, page.n, page.last);
  if (answer.kind === "denied") return fail(exchange, failures.denied);
  if (answer.kind === "absent") return fail(exchange, failures.repositoryUnknown);
  exchange.findings.result = "pass";
  exchange.findings.source = `upstream:${upstream.name}`;
  const { tags, more } = answer;
  const next = more ? nextLink(origin, `${repository}/tags/list`, page.n ?? tags.length, tags.at(-1)) : {};
  exchange.send(200, listingHeaders(next), JSON.stringify({ name: repository, tags }));
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
  exchange.findings.result = "hit";
  exchange.findings.source = "disk";
  const next = names.length > size && size > 0 ? nextLink(origin, "_catalog", size, repositories.at(-1)) : {};
  exchange.send(200, listingHeaders(next), JSON.stringify({ repositories }));
}

/** Path-absolute, with our own prefix: crane and oras insist on the same host, skopeo keeps only the path. */
function nextLink(origin: Origin, path: string, n: number, last: string | undefined): { link?: string } {
  if (last === undefined) return {};
  const query = new URLSearchParams({ n: String(n), last });
  if (origin.ns !== undefined) query.set("ns", origin.ns);
  const prefix = origin.prefix === "" ? "" : `/${origin.prefix}`;
  return { link: `<${prefix}/v2/${path}?${query}>; rel="next"` };
}

function listingHeaders(next: { link?: string }): Record<string, string> {
  return { ...next, "content-type": "application/json", "docker-distribution-api-version": "registry/2.0" };
}
