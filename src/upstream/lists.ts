// Tags of a repository and referrers of a manifest (distribution-spec, "Listing Tags" and "Listing Referrers"), made
// uniform: some registries ignore `n` and `last`, some page by themselves, and none of their Link headers may reach a
// client.
import type { Digest } from "../oci/digest.ts";
import { type JsonBounds, jsonExcess } from "../oci/json-depth.ts";
import { bareMediaType, mediaTypes } from "../oci/media-type.ts";
import { parseTag, type Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import { UpstreamError } from "../ports/upstream.ts";
import type { CacheMarks, ReferrersAnswer, Refusal, TagsAnswer } from "../ports/upstream-answer.ts";
import { cacheMarks, isWebPage } from "./answer.ts";
import { readSmallBody } from "./body.ts";
import { type Ask, type Asker, type Reply, statusOf } from "./client.ts";

/** Largest page read, in bytes. */
const maxPageBytes = 4 * 1024 * 1024;

export interface ListSource {
  readonly client: Asker;
  readonly upstream: string;
  readonly clock: Clock;
  /** Milliseconds for one page's body, and for all pages of a list of tags together. */
  readonly pageTimeout: number;
  readonly listTimeout: number;
  readonly received: (bytes: number) => void;
}

// ---- tags -------------------------------------------------------------------------------------------------------

/** What a list without `n` is collected from at most. */
const maxTagPages = 100;
const maxTags = 100_000;
/** Checked before a page is parsed, which takes time: a tag is a value without a name. */
const tagBounds = { depth: 16, values: 250_000, names: 1_000 };
/** Largest page asked for; registries refuse more. A client that asks for more gets a page and a Link. */
const largestTagPage = 1000;

/** The tags after `last` in ASCII order, at most `n`, with the marks of the first page; rejects with UpstreamError. */
export async function listTags(
  source: ListSource,
  repository: Repository,
  n: number | undefined,
  last: string | undefined,
): Promise<TagsAnswer> {
  const query = new URLSearchParams();
  if (n !== undefined) query.set("n", String(Math.min(Math.max(n, 1), largestTagPage)));
  if (last !== undefined) query.set("last", last);
  const first = await readTagPage(source, repository, query);
  if (first.kind !== "found") return first;
  const { marks } = first;
  if (n === 0) return { kind: "found", tags: [], more: false, ...marks };
  if (n !== undefined) return { ...cut(first.tags, n, last, first.next !== undefined), ...marks };
  const all = new Set(first.tags);
  const started = source.clock();
  let next = first.next;
  for (let pages = 1; next !== undefined && pages < maxTagPages && all.size < maxTags; pages++) {
    if (source.clock() - started > source.listTimeout) {
      throw new UpstreamError("timeout", `upstream ${source.upstream} took too long to list all tags`);
    }
    const page = await readTagPage(source, repository, next);
    if (page.kind !== "found") return page;
    const before = all.size;
    for (const tag of page.tags) all.add(tag);
    // A page without anything new would be followed by itself for ever.
    next = all.size > before ? page.next : undefined;
  }
  return { ...cut([...all], maxTags, last, next !== undefined), ...marks };
}

function cut(
  tags: readonly string[],
  n: number,
  last: string | undefined,
  more: boolean,
): TagsAnswer & { kind: "found" } {
  const rest = [...new Set(tags)].filter((tag) => last === undefined || tag > last).sort();
  return { kind: "found", tags: rest.slice(0, n), more: more || rest.length > n };
}

/** Without the body it came in, which is up to 4 MiB. */
interface TagPage extends Omit<Page, "body"> {
  readonly tags: readonly string[];
}

async function readTagPage(
  source: ListSource,
  repository: Repository,
  query: URLSearchParams,
): Promise<TagPage | Refusal> {
  const headers = { accept: "application/json" };
  const reply = await askPage(source, { repository, endpoint: "tags/list", query, headers });
  const page = await readPage(source, reply, "a list");
  if (page.kind !== "found") return page;
  const { kind, next, marks, body } = page;
  return { kind, next, marks, tags: readTags(source.upstream, body) };
}

/** Names that are no tags are left out: nobody could ask for them. */
function readTags(upstream: string, body: Buffer): string[] {
  const json = parsePage(body, tagBounds, `upstream ${upstream} sent a tag list of more than is read`);
  const tags = (json as { tags?: unknown } | null | undefined)?.tags;
  if (tags === null) return [];
  if (!Array.isArray(tags)) {
    throw new UpstreamError("protocol", `upstream ${upstream} sent a tag list that is none`);
  }
  return tags.filter((tag) => typeof tag === "string" && parseTag(tag) !== undefined);
}

// ---- referrers --------------------------------------------------------------------------------------------------

const maxReferrerPages = 20;
/** Checked before a page is parsed: some thousand referrers with annotations. */
const referrerBounds = { depth: 64, values: 100_000 };

/**
 * The image index upstream answers, verbatim when it is one page. Registries without the endpoint answer 404 or 405,
 * some a web page or JSON of another type: all of it is `absent`, and clients go on to the fallback tag. Rejects with
 * UpstreamError.
 */
export async function listReferrers(
  source: ListSource,
  repository: Repository,
  digest: Digest,
  artifactType: string | undefined,
): Promise<ReferrersAnswer> {
  const query = new URLSearchParams(artifactType === undefined ? {} : { artifactType });
  const first = await readReferrerPage(source, repository, digest, query);
  if (first.kind !== "found") return first;
  const { filtersApplied, marks } = first;
  if (first.next === undefined) return { kind: "found", body: first.body, filtersApplied, ...marks };
  const manifests = [...first.manifests];
  let next: URLSearchParams | undefined = first.next;
  for (let pages = 1; next !== undefined && pages < maxReferrerPages; pages++) {
    const page = await readReferrerPage(source, repository, digest, next);
    if (page.kind !== "found") return page;
    manifests.push(...page.manifests);
    next = page.manifests.length > 0 ? page.next : undefined;
  }
  if (next !== undefined) {
    const text = `upstream ${source.upstream} sent more than ${maxReferrerPages} pages`;
    throw new UpstreamError("too_large", text);
  }
  const body = Buffer.from(JSON.stringify({ ...(JSON.parse(first.body.toString()) as object), manifests }));
  return { kind: "found", body, filtersApplied, ...marks };
}

interface ReferrerPage extends Page {
  readonly manifests: readonly unknown[];
  readonly filtersApplied: string | undefined;
}

async function readReferrerPage(
  source: ListSource,
  repository: Repository,
  digest: Digest,
  query: URLSearchParams,
): Promise<ReferrerPage | Refusal> {
  const headers = { accept: mediaTypes.ociIndex };
  const reply = await askPage(source, { repository, endpoint: `referrers/${digest}`, query, headers });
  if (!hasReferrers(reply)) {
    reply.body.destroy();
    return { kind: "absent" };
  }
  const page = await readPage(source, reply, "referrers");
  if (page.kind !== "found") return page;
  const applied: unknown = reply.headers["oci-filters-applied"];
  const filtersApplied =
    typeof applied === "string" && /^[a-zA-Z, ]{1,100}$/.test(applied) ? applied : undefined;
  return { ...page, manifests: readManifests(source.upstream, page.body), filtersApplied };
}

/** Only a 200 with the one exact type is an answer of this endpoint (docs/clients.md 51). */
function hasReferrers({ status, headers }: Reply): boolean {
  if (status === 200) return bareMediaType(headers["content-type"]) === mediaTypes.ociIndex;
  if (status === 404 && isWebPage(headers)) return false;
  return status !== 400 && status !== 405 && status !== 406;
}

function readManifests(upstream: string, body: Buffer): readonly unknown[] {
  const json = parsePage(body, referrerBounds, `upstream ${upstream} sent more referrers than are read`);
  const manifests = (json as { manifests?: unknown } | null | undefined)?.manifests;
  if (!Array.isArray(manifests))
    throw new UpstreamError("protocol", `upstream ${upstream} sent referrers that are no index`);
  return manifests;
}

// ---- pages of both ----------------------------------------------------------------------------------------------

interface Page {
  readonly kind: "found";
  readonly body: Buffer;
  /** Query of upstream's `rel="next"` link. */
  readonly next: URLSearchParams | undefined;
  readonly marks: CacheMarks;
}

function askPage(
  { client }: ListSource,
  ask: Pick<Ask, "repository" | "endpoint" | "query" | "headers">,
): Promise<Reply> {
  return client.ask({ method: "GET", type: "tags", ...ask });
}

/** `what` it is, for messages. */
async function readPage(
  { upstream, clock, pageTimeout, received }: ListSource,
  reply: Reply,
  what: string,
): Promise<Page | Refusal> {
  const refusal = await statusOf(upstream, reply, [200], clock());
  if (refusal !== undefined) return refusal;
  const body = await readSmallBody(reply.body, { upstream, limit: maxPageBytes, timeout: pageTimeout });
  if (body === undefined) {
    const text = `upstream ${upstream} sent ${what} of more than ${maxPageBytes} bytes`;
    throw new UpstreamError("too_large", text);
  }
  received(body.length);
  return { kind: "found", body, next: nextQuery(reply.headers.link), marks: cacheMarks(reply) };
}

/** Undefined for what is no JSON. Throws UpstreamError too_large, with the text, for more than the bounds. */
function parsePage(body: Buffer, bounds: JsonBounds, tooLarge: string): unknown {
  if (jsonExcess(body, bounds) !== undefined) throw new UpstreamError("too_large", tooLarge);
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    // The parser's message would quote the body.
    return undefined;
  }
}

/**
 * The query of a `rel="next"` link (RFC 8288). Only the query is taken: behind proxies the host and path in it are
 * often wrong, and the next request is built from our own parts anyway.
 */
export function nextQuery(header: string | string[] | undefined): URLSearchParams | undefined {
  for (const link of [header ?? []].flat().flatMap((value) => value.split(/,\s*(?=<)/))) {
    const match = /^\s*<([^>]{1,2048})>\s*;(.*)$/.exec(link);
    if (match === null || !/(?:^|;)\s*rel\s*=\s*"?next"?\s*(?:;|$)/i.test(match[2] as string)) continue;
    const query = (match[1] as string).split("?", 2)[1];
    if (query !== undefined && query !== "") return new URLSearchParams(query.split("#", 1)[0]);
  }
  return undefined;
}
