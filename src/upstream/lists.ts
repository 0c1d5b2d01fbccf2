// Tags of a repository and referrers of a manifest (distribution-spec, "Listing Tags" and "Listing Referrers"), made
// uniform: some registries ignore `n` and `last`, some page by themselves, and none of their Link headers may reach a
// client.
import type { Digest } from "../oci/digest.ts";
import { type JsonBounds, jsonExcess } from "../oci/json-depth.ts";
import { bareMediaType, mediaTypes } from "../oci/media-type.ts";
import { parseTag, type Repository } from "../oci/name.ts";
import type { Page } from "../oci/route.ts";
import { tagPage } from "../oci/tag-page.ts";
import type { Clock } from "../ports/clock.ts";
import { UpstreamError } from "../ports/upstream.ts";
import type { CacheMarks, ReferrersAnswer, Refusal, TagsAnswer } from "../ports/upstream-answer.ts";
import { cacheMarks, isWebPage, refuseUnlessJson } from "./answer.ts";
import { readSmallBody } from "./body.ts";
import { type Ask, type Asker, type Reply, statusOf } from "./client.ts";

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

/** What a whole list is collected from at most. */
const maxTagPages = 100;
const maxTags = 100_000;
/** Largest page read, in bytes: some registries give all tags at once, and this many of the longest are 13 MB. */
const maxTagPageBytes = 16 * 1024 * 1024;
/** Checked before a page is parsed, which takes time: a tag is a value without a name. */
const tagBounds = { depth: 16, values: 250_000, names: 1_000 };
/** Largest page asked for; registries refuse more. A client that asks for more gets a page and a Link. */
const largestTagPage = 1000;

/**
 * The tags after `last` in ASCII order, at most `n`, with the marks of the first page. All tags there are go along when
 * upstream does not give pages as they are asked for; at most 100,000. Rejects with UpstreamError.
 */
export async function listTags(
  source: ListSource,
  repository: Repository,
  n: number | undefined,
  last: string | undefined,
): Promise<TagsAnswer> {
  if (n === undefined) return await listAll(source, repository, last);
  const asked = { n: Math.min(Math.max(n, 1), largestTagPage), last };
  const first = await readTagPage(source, repository, asked);
  if (first.kind !== "found") return first;
  const { tags, next, marks } = first;
  if (n === 0) return { kind: "found", tags: [], more: false, ...marks };
  const answer = { ...found(inOrder(tags), { n, last }, next !== undefined), ...marks };
  if (isInOrder(tags, last) && (tags.length <= asked.n || next !== undefined || last !== undefined))
    return answer;
  // What comes after this tag in upstream's order is not what comes after it in ours.
  const all = isWhole(first, asked) ? first : await collect(source, repository, { n: largestTagPage });
  if (all.kind !== "found") return all;
  const whole = inOrder(all.tags);
  const page = { ...found(whole, { n, last }, all.next !== undefined), ...all.marks };
  return all.next !== undefined || whole.length > maxTags ? page : { ...page, whole };
}

async function listAll(
  source: ListSource,
  repository: Repository,
  last: string | undefined,
): Promise<TagsAnswer> {
  const all = await collect(source, repository, { last }).catch((error: unknown) => {
    // Too much for one page.
    if (!(error instanceof UpstreamError) || error.code !== "too_large") throw error;
    return collect(source, repository, { n: largestTagPage, last });
  });
  if (all.kind !== "found") return all;
  return { ...found(inOrder(all.tags), { n: maxTags, last }, all.next !== undefined), ...all.marks };
}

/** The page asked for and those it leads to, with the marks of the first; with `next` when there are more than are read. */
async function collect(
  source: ListSource,
  repository: Repository,
  asked: Partial<Page>,
): Promise<TagPage | Refusal> {
  const first = await readTagPage(source, repository, asked);
  if (first.kind !== "found") return first;
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
  return { kind: "found", tags: [...all], next, marks: first.marks };
}

/** Whether the page is the list from its beginning to its end, although less may have been asked for. */
function isWhole({ tags, next }: TagPage, { n = 0, last }: Partial<Page>): boolean {
  if (next !== undefined) return false;
  // A page that upstream begins after a tag does not have that tag in it, whatever its order.
  return last === undefined || tags.includes(last) || tags.length > n;
}

/** Whether they ascend, all after `last`. */
function isInOrder(tags: readonly string[], last = ""): boolean {
  return tags.every((tag, at) => tag > (at === 0 ? last : (tags[at - 1] as string)));
}

function inOrder(tags: readonly string[]): string[] {
  return [...new Set(tags)].sort();
}

/** `more`: upstream has more than `tags`. */
function found(tags: readonly string[], page: Page, more: boolean): TagsAnswer & { kind: "found" } {
  const cut = tagPage(tags, page);
  return { kind: "found", ...cut, more: cut.more || more };
}

/** Without the body it came in, which is up to 16 MiB. */
interface TagPage extends Omit<ListPage, "body"> {
  readonly tags: readonly string[];
}

async function readTagPage(
  source: ListSource,
  repository: Repository,
  asked: Partial<Page> | URLSearchParams,
): Promise<TagPage | Refusal> {
  const headers = { accept: "application/json" };
  const query = asked instanceof URLSearchParams ? asked : tagQuery(asked);
  const reply = await askPage(source, { repository, endpoint: "tags/list", query, headers });
  const page = await readPage(source, reply, { limit: maxTagPageBytes, what: "a list" });
  if (page.kind !== "found") return page;
  const { kind, next, marks, body } = page;
  return { kind, next, marks, tags: readTags(source.upstream, body) };
}

function tagQuery({ n, last }: Partial<Page>): URLSearchParams {
  const query = new URLSearchParams();
  if (n !== undefined) query.set("n", String(n));
  if (last !== undefined) query.set("last", last);
  return query;
}

/**
 * Names that are no tags are left out: nobody could ask for them. A repository without tags has null for them at some
 * registries, and nothing at others.
 */
function readTags(upstream: string, body: Buffer): string[] {
  const json = parsePage(body, tagBounds, `upstream ${upstream} sent a tag list of more than is read`);
  const { name, tags } = (json ?? {}) as { name?: unknown; tags?: unknown };
  if (tags === null || (tags === undefined && typeof name === "string")) return [];
  if (!Array.isArray(tags)) {
    throw new UpstreamError("protocol", `upstream ${upstream} sent a tag list that is none`);
  }
  return tags.filter((tag) => typeof tag === "string" && parseTag(tag) !== undefined);
}

// ---- referrers --------------------------------------------------------------------------------------------------

const maxReferrerPages = 20;
/** Largest page read, in bytes. */
const maxReferrerBytes = 4 * 1024 * 1024;
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

interface ReferrerPage extends ListPage {
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
  const page = await readPage(source, reply, { limit: maxReferrerBytes, what: "referrers" });
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

interface ListPage {
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

/** At most `limit` bytes; `what` it is, for messages. */
async function readPage(
  { upstream, clock, pageTimeout, received }: ListSource,
  reply: Reply,
  { limit, what }: { readonly limit: number; readonly what: string },
): Promise<ListPage | Refusal> {
  const refusal = await statusOf(upstream, reply, [200], clock());
  if (refusal !== undefined) return refusal;
  const body = await readSmallBody(reply.body, { upstream, limit, timeout: pageTimeout });
  if (body === undefined) {
    const text = `upstream ${upstream} sent ${what} of more than ${limit} bytes`;
    throw new UpstreamError("too_large", text);
  }
  received(body.length);
  refuseUnlessJson(upstream, reply, body);
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
 * The query of a `rel="next"` link (RFC 8288), or of one without `rel`, as some registries have it. Only the query is
 * taken: behind proxies the host and path in it are often wrong, and the next request is built from our own parts anyway.
 */
export function nextQuery(header: string | string[] | undefined): URLSearchParams | undefined {
  let unnamed: URLSearchParams | undefined;
  for (const link of [header ?? []].flat().flatMap((value) => value.split(/,\s*(?=<)/))) {
    const [, target, parameters = ""] = /^\s*<([^>]{1,2048})>\s*(?:;(.*))?$/.exec(link) ?? [];
    const query = target?.split("?", 2)[1]?.split("#", 1)[0];
    if (query === undefined || query === "") continue;
    const rel = /(?:^|;)\s*rel\s*=\s*(?:"([^"]*)"|([^\s;"]*))/i.exec(parameters);
    if (rel === null) unnamed ??= new URLSearchParams(query);
    else if (/(?:^|\s)next(?:\s|$)/i.test(rel[1] ?? rel[2] ?? "")) return new URLSearchParams(query);
  }
  return unnamed;
}
