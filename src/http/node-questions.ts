// What other nodes of the datacenter ask this one about itself (ports/datacenter/nodes.ts). Only those that have proved to be one get
// an answer: without a secret of the nodes nobody does.
import { type Digest, parseDigest } from "../oci/digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../oci/name.ts";
import type { NodeProof } from "../ports/datacenter/node-proof.ts";
import {
  maxAsked,
  maxNames,
  type NodeSummary,
  nodePaths,
  type PulledImages,
} from "../ports/datacenter/nodes.ts";
import { toldImages } from "../ports/datacenter/pulled-schema.ts";
import type { PageEnd, ReportedPage } from "../ports/datacenter/reported-images.ts";
import type { NodeSavings } from "../ports/datacenter/savings.ts";
import type { TagStay } from "../ports/history/tag-history.ts";
import type { PinCommand } from "../ports/pins/pins.ts";
import { fail, failureOfProblem, failures } from "./error.ts";
import type { Exchange } from "./exchange.ts";

export interface NodeQuestionsOptions {
  /** What this node says of itself now. */
  readonly summary: () => NodeSummary;
  /** Whether the store has it. Rejects with StoreError. */
  readonly holds: (digest: Digest) => Promise<boolean>;
  /**
   * Repositories of which something is here, in order, after `last`, at most `limit`. The upstream is named as
   * ports/datacenter/upstream-id.ts says; undefined when there is no such one.
   */
  readonly repositories: (
    upstream: string,
    last: string | undefined,
    limit: number,
  ) => readonly Repository[] | undefined;
  /** The ledger of a month, or of `all`; undefined for what is none. Throws StoreError. */
  readonly savings: (month: string) => NodeSavings | undefined;
  /** Images pulled in the last so many days; rejects with StoreError. */
  readonly pulled: (days: number) => Promise<PulledImages>;
  /** What is known of the images pulled at `since` or later, after those up to `after`. Rejects with StoreError. */
  readonly reported: (since: number, after: PageEnd | undefined) => Promise<ReportedPage>;
  /** What was commanded of pins; see OtherNodes. Throws StoreError. */
  readonly pins: () => readonly PinCommand[];
  /** What the tag was seen to name; undefined when there is no such upstream, named as above. Throws StoreError. */
  readonly tagStays: (upstream: string, repository: Repository, tag: Tag) => readonly TagStay[] | undefined;
  /** The answer to a question of another kind (NodeCommands); undefined when there is no such one. Rejects with StoreError. */
  readonly command?: (path: string, query: URLSearchParams) => Promise<object | undefined>;
}

/** Whether a target, below this mirror's own path, is such a question. */
export function isNodeQuestion(target: string): boolean {
  return target.startsWith("/node/v1/");
}

/** Answers it; nothing is counted as traffic. Rejects with StoreError. */
export async function answerNode(
  exchange: Exchange,
  target: string,
  proof: NodeProof | undefined,
  options: NodeQuestionsOptions | undefined,
): Promise<void> {
  const { method } = exchange.request;
  if (method !== "GET" || options === undefined || (await proof?.isNode(exchange.request)) !== true)
    return fail(exchange, failureOfProblem("unknown"));
  exchange.findings.probe = "node";
  exchange.findings.result = "hit";
  exchange.grantNothing();
  const queryAt = target.indexOf("?");
  const path = queryAt < 0 ? target : target.slice(0, queryAt);
  if (path === nodePaths.summary) return say(exchange, options.summary());
  const query = new URLSearchParams(queryAt < 0 ? "" : target.slice(queryAt + 1));
  if (path === nodePaths.repositories) {
    const limit = Math.max(1, Math.min(Number(query.get("n") ?? maxNames) || maxNames, maxNames));
    const last = query.get("last") ?? undefined;
    const repositories = options.repositories(query.get("upstream") ?? "", last, Math.floor(limit));
    if (repositories === undefined) return fail(exchange, failures.upstreamUnknown);
    return say(exchange, { repositories });
  }
  if (path === nodePaths.pins) return say(exchange, { pins: options.pins() });
  if (path === nodePaths.tagStays) {
    const repository = parseRepository(query.get("repository") ?? "");
    const tag = parseTag(query.get("tag") ?? "");
    if (repository === undefined || tag === undefined) return fail(exchange, failureOfProblem("unknown"));
    const stays = options.tagStays(query.get("upstream") ?? "", repository, tag);
    return stays === undefined ? fail(exchange, failures.upstreamUnknown) : say(exchange, { stays });
  }
  if (path === nodePaths.savings) {
    const savings = options.savings(query.get("month") ?? "");
    return savings === undefined ? fail(exchange, failureOfProblem("unknown")) : say(exchange, savings);
  }
  if (path === nodePaths.pulled) {
    const days = Number(query.get("days"));
    const known = Number.isInteger(days) && days >= 1 && days <= 365;
    const pulled = known ? await options.pulled(days) : undefined;
    return pulled === undefined
      ? fail(exchange, failureOfProblem("unknown"))
      : say(exchange, toldImages(pulled));
  }
  if (path === nodePaths.reported) {
    const since = Number(query.get("since") ?? "none");
    const after = query.get("after");
    const end = after === null ? undefined : pageEnd(after);
    if (!(since >= 0) || (after !== null && end === undefined))
      return fail(exchange, failureOfProblem("bad_page"));
    return say(exchange, await options.reported(since, end));
  }
  if (path !== nodePaths.holding) {
    const answered = await options.command?.(path, query);
    return answered === undefined ? fail(exchange, failureOfProblem("unknown")) : say(exchange, answered);
  }
  const asked = query.get("digests") ?? "";
  const digests = asked.split(",", maxAsked).flatMap((text) => parseDigest(text) ?? []);
  const held: Digest[] = [];
  for (const digest of digests) if (await options.holds(digest)) held.push(digest);
  say(exchange, { digests: held });
}

/** As src/upstream/nodes.ts writes it. */
function pageEnd(text: string): PageEnd | undefined {
  const [usedAt, size, digest] = text.split(",", 3);
  const parsed = parseDigest(digest ?? "");
  const [used, bytes] = [Number(usedAt || "none"), Number(size || "none")];
  return parsed !== undefined && used >= 0 && bytes >= 0
    ? { digest: parsed, size: bytes, usedAt: used }
    : undefined;
}

function say(exchange: Exchange, value: object): void {
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  exchange.send(200, headers, JSON.stringify(value));
}
