// What a tag has named, as all nodes of the datacenter have seen it: each keeps the history of what it asked its upstream itself.
import type { Tag } from "../../oci/name.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import type { TagHistory, TagStay } from "../../ports/history/tag-history.ts";
import type { Scope } from "../../ports/scope.ts";
import { answersOfAll } from "../stats/answers-of-all.ts";
import type { ImageReference, Unreadable } from "../stats/image-reference.ts";
import type { ReportedStay, TagReport } from "./tag-report.ts";

export interface TagStaysOptions {
  /** Of this node. */
  readonly name: string;
  readonly history: Pick<TagHistory, "of">;
  readonly neighbours: () => Neighbours;
}

export interface TagReportOptions extends TagStaysOptions {
  readonly parse: (reference: string) => ImageReference | Unreadable;
  readonly clock: Clock;
}

/** Rejects with StoreError when this node's history cannot be read. */
export async function tagReport(options: TagReportOptions, text: string): Promise<TagReport | Unreadable> {
  const image = options.parse(text);
  if ("problem" in image) return image;
  const { upstream, repository, reference } = image;
  if (reference.kind === "digest") return { problem: "a digest has no history: expected a tag" };
  const { tag } = reference;
  const seen = await tagStays(options, image, tag);
  return { schema: 1, at: options.clock(), upstream, repository, tag, ...seen };
}

/** A node that has not said it within a second is named. Rejects as `tagReport` does. */
export async function tagStays(
  { name, history, neighbours }: TagStaysOptions,
  scope: Scope,
  tag: Tag,
): Promise<Pick<TagReport, "stays" | "silentNodes">> {
  const stays = history.of(scope, tag);
  const { answers, silent } = await answersOfAll(neighbours(), (nodes, address) =>
    nodes.tagStays(address, scope, tag),
  );
  const seen = [{ node: name, stays }, ...answers.map(({ name, answer }) => ({ node: name, stays: answer }))];
  return { stays: staysOfAll(seen), silentNodes: silent };
}

interface Sight extends Pick<ReportedStay, "by"> {
  readonly at: number;
  /** Undefined: there was no such tag. */
  readonly digest: string | undefined;
  readonly node: string;
}

/**
 * In the order in which nodes have seen the tag name something: a stay ends when any of them sees it name something else, or
 * nothing. A node that still takes an earlier digest for the present one has seen nothing new, and says nothing of the present.
 */
export function staysOfAll(
  seen: readonly { readonly node: string; readonly stays: readonly TagStay[] }[],
): readonly ReportedStay[] {
  const sights = seen
    .flatMap(({ node, stays }) => stays.flatMap((stay) => sightsOf(node, stay)))
    .sort((one, other) => one.at - other.at);
  const found: ReportedStay[] = [];
  for (const { at, digest, by, node } of sights) {
    const last = found.at(-1);
    const open = last?.endedAt === null ? last : undefined;
    if (open !== undefined && open.digest === digest) {
      found[found.length - 1] = { ...open, nodes: [...new Set([...open.nodes, node])].sort() };
      continue;
    }
    if (open !== undefined)
      found[found.length - 1] = { ...open, endedAt: at, ended: digest === undefined ? "deleted" : "moved" };
    if (digest !== undefined)
      found.push({ digest, firstSeenAt: at, by, endedAt: null, ended: null, nodes: [node] });
  }
  return found;
}

/** That a tag has moved is said by the stay it has moved to. */
function sightsOf(node: string, { digest, firstSeen, by, lastSeen, end }: TagStay): readonly Sight[] {
  const sights: Sight[] = [{ at: firstSeen, digest, by: by ?? null, node }];
  if (lastSeen !== undefined) sights.push({ at: lastSeen, digest, by: null, node });
  if (end?.why === "deleted") sights.push({ at: end.at, digest: undefined, by: null, node });
  return sights;
}
