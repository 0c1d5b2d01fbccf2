// Tag lists (distribution-spec, "Listing Tags"), made uniform: some registries ignore `n` and `last`, some page by
// themselves, and none of their Link headers may reach a client.

import { jsonExcess } from "../oci/json-depth.ts";
import { parseTag, type Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import { UpstreamError } from "../ports/upstream.ts";
import type { CacheMarks, Refusal, TagsAnswer } from "../ports/upstream-answer.ts";
import { cacheMarks } from "./answer.ts";
import { readSmallBody } from "./body.ts";
import { type Asker, statusOf } from "./client.ts";
import { nextQuery } from "./next-link.ts";

/** Largest page read, in bytes. */
const maxPageBytes = 4 * 1024 * 1024;
/** What a list without `n` is collected from at most. */
const maxPages = 100;
const maxTags = 100_000;
/** What one page may have, told before it is parsed: a tag is a value without a name. Parsed in 40 ms at worst. */
const pageBounds = { depth: 16, values: 250_000, names: 1_000 };
/** Largest page asked for; registries refuse more. A client that asks for more gets a page and a Link. */
const largestPage = 1000;

export interface TagList {
  readonly client: Asker;
  readonly upstream: string;
  readonly clock: Clock;
  /** Milliseconds for one page's body, and for all pages of a list together. */
  readonly pageTimeout: number;
  readonly listTimeout: number;
  readonly received: (bytes: number) => void;
}

interface TagPage {
  readonly kind: "found";
  readonly tags: readonly string[];
  /** Query of upstream's `rel="next"` link. */
  readonly next: URLSearchParams | undefined;
  readonly marks: CacheMarks;
}

/** The tags after `last` in ASCII order, at most `n`, with the marks of the first page; rejects with UpstreamError. */
export async function listTags(
  list: TagList,
  repository: Repository,
  n: number | undefined,
  last: string | undefined,
): Promise<TagsAnswer> {
  const query = new URLSearchParams();
  if (n !== undefined) query.set("n", String(Math.min(Math.max(n, 1), largestPage)));
  if (last !== undefined) query.set("last", last);
  const first = await readPage(list, repository, query);
  if (first.kind !== "found") return first;
  const { marks } = first;
  if (n === 0) return { kind: "found", tags: [], more: false, ...marks };
  if (n !== undefined) return { ...cut(first.tags, n, last, first.next !== undefined), ...marks };
  const all = new Set(first.tags);
  const started = list.clock();
  let next = first.next;
  for (let pages = 1; next !== undefined && pages < maxPages && all.size < maxTags; pages++) {
    if (list.clock() - started > list.listTimeout) {
      throw new UpstreamError("timeout", `upstream ${list.upstream} took too long to list all tags`);
    }
    const page = await readPage(list, repository, next);
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

async function readPage(
  list: TagList,
  repository: Repository,
  query: URLSearchParams,
): Promise<TagPage | Refusal> {
  const { client, upstream } = list;
  const headers = { accept: "application/json" };
  const reply = await client.ask({
    method: "GET",
    type: "tags",
    repository,
    endpoint: "tags/list",
    query,
    headers,
  });
  const refusal = await statusOf(upstream, reply, [200], list.clock());
  if (refusal !== undefined) return refusal;
  const limits = { upstream, limit: maxPageBytes, timeout: list.pageTimeout };
  const body = await readSmallBody(reply.body, limits);
  if (body === undefined) {
    throw new UpstreamError(
      "too_large",
      `upstream ${upstream} sent a list of more than ${maxPageBytes} bytes`,
    );
  }
  list.received(body.length);
  const tags = readTags(upstream, body);
  return { kind: "found", tags, next: nextQuery(reply.headers.link), marks: cacheMarks(reply) };
}

/** Names that are no tags are left out: nobody could ask for them. */
function readTags(upstream: string, body: Buffer): string[] {
  if (jsonExcess(body, pageBounds) !== undefined)
    throw new UpstreamError("too_large", `upstream ${upstream} sent a tag list of more than is read`);
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    // Told below; the parser's message would quote the body.
  }
  const tags = (json as { tags?: unknown } | null | undefined)?.tags;
  if (tags === null) return [];
  if (!Array.isArray(tags)) {
    throw new UpstreamError("protocol", `upstream ${upstream} sent a tag list that is none`);
  }
  return tags.filter((tag) => typeof tag === "string" && parseTag(tag) !== undefined);
}
