// The referrers of a manifest (distribution-spec, "Listing Referrers"), as one list whatever pages upstream makes of it.

import type { Digest } from "../oci/digest.ts";
import { jsonExcess } from "../oci/json-depth.ts";
import { bareMediaType, mediaTypes } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import { UpstreamError } from "../ports/upstream.ts";
import type { CacheMarks, ReferrersAnswer, Refusal } from "../ports/upstream-answer.ts";
import { cacheMarks, isWebPage } from "./answer.ts";
import { readSmallBody } from "./body.ts";
import { type Reply, statusOf } from "./client.ts";
import { nextQuery } from "./next-link.ts";
import type { TagList } from "./tags.ts";

const maxBytes = 4 * 1024 * 1024;
const maxPages = 20;
/** What one page may have, told before it is parsed: some thousand referrers with annotations. 100 ms at worst. */
const pageBounds = { depth: 64, values: 100_000 };

interface Page {
  readonly kind: "found";
  readonly body: Buffer;
  readonly filtersApplied: string | undefined;
  readonly next: URLSearchParams | undefined;
  readonly marks: CacheMarks;
}

/**
 * The image index upstream answers, verbatim when it is one page. Registries without the endpoint answer 404 or 405,
 * some a web page or JSON of another type: all of it is `absent`, and clients go on to the fallback tag. Rejects with
 * UpstreamError.
 */
export async function listReferrers(
  list: TagList,
  repository: Repository,
  digest: Digest,
  artifactType: string | undefined,
): Promise<ReferrersAnswer> {
  const query = new URLSearchParams(artifactType === undefined ? {} : { artifactType });
  const first = await readPage(list, repository, digest, query);
  if (first.kind !== "found") return first;
  const { filtersApplied, marks } = first;
  if (first.next === undefined) return { kind: "found", body: first.body, filtersApplied, ...marks };
  const manifests = [...manifestsOf(list.upstream, first.body)];
  let next: URLSearchParams | undefined = first.next;
  for (let pages = 1; next !== undefined && pages < maxPages; pages++) {
    const page: Page | Refusal = await readPage(list, repository, digest, next);
    if (page.kind !== "found") return page;
    const more = manifestsOf(list.upstream, page.body);
    manifests.push(...more);
    next = more.length > 0 ? page.next : undefined;
  }
  if (next !== undefined)
    throw new UpstreamError("too_large", `upstream ${list.upstream} sent more than ${maxPages} pages`);
  const body = Buffer.from(JSON.stringify({ ...(JSON.parse(first.body.toString()) as object), manifests }));
  return { kind: "found", body, filtersApplied, ...marks };
}

async function readPage(
  list: TagList,
  repository: Repository,
  digest: Digest,
  query: URLSearchParams,
): Promise<Page | Refusal> {
  const { client, upstream } = list;
  const endpoint = `referrers/${digest}`;
  const headers = { accept: mediaTypes.ociIndex };
  const reply = await client.ask({ method: "GET", type: "tags", repository, endpoint, query, headers });
  if (!hasReferrers(reply)) {
    reply.body.destroy();
    return { kind: "absent" };
  }
  const refusal = await statusOf(upstream, reply, [200], list.clock());
  if (refusal !== undefined) return refusal;
  const body = await readSmallBody(reply.body, { upstream, limit: maxBytes, timeout: list.pageTimeout });
  if (body === undefined)
    throw new UpstreamError("too_large", `upstream ${upstream} sent referrers above ${maxBytes} bytes`);
  list.received(body.length);
  const applied: unknown = reply.headers["oci-filters-applied"];
  const filtersApplied =
    typeof applied === "string" && /^[a-zA-Z, ]{1,100}$/.test(applied) ? applied : undefined;
  manifestsOf(upstream, body);
  return {
    kind: "found",
    body,
    filtersApplied,
    next: nextQuery(reply.headers.link),
    marks: cacheMarks(reply),
  };
}

/** Only a 200 with the one exact type is an answer of this endpoint (docs/clients.md 51). */
function hasReferrers({ status, headers }: Reply): boolean {
  if (status === 200) return bareMediaType(headers["content-type"]) === mediaTypes.ociIndex;
  if (status === 404 && isWebPage(headers)) return false;
  return status !== 400 && status !== 405 && status !== 406;
}

function manifestsOf(upstream: string, body: Buffer): readonly unknown[] {
  if (jsonExcess(body, pageBounds) !== undefined)
    throw new UpstreamError("too_large", `upstream ${upstream} sent more referrers than are read`);
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    // Told below; the parser's message would quote the body.
  }
  const manifests = (json as { manifests?: unknown } | null | undefined)?.manifests;
  if (!Array.isArray(manifests))
    throw new UpstreamError("protocol", `upstream ${upstream} sent referrers that are no index`);
  return manifests;
}
