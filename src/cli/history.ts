// `entrepot history`: what a tag has named, as the nodes of a datacenter have seen it.
import type { ReportedStay, TagReport } from "../ops/history/tag-report.ts";
import { type Context, exitCode } from "./context.ts";
import { answerFrom, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export interface HistoryOptions extends OpsPlaceOptions {
  /** Prints the answer as it came. */
  readonly json?: boolean;
}

/**
 * Prints it; gives the exit code: 0 when all nodes have told, 1 when one has not or the tag was never seen, 2 when there is no
 * answer.
 */
export async function history(reference: string, options: HistoryOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const path = `/api/v1/history?${new URLSearchParams({ reference })}`;
  const report = (await answerFrom(place, path, context)) as TagReport | undefined;
  if (report === undefined) return exitCode.usage;
  context.out(`${options.json ? JSON.stringify(report) : linesOf(report).join("\n")}\n`);
  const { silentNodes, stays } = report;
  if (silentNodes.length > 0)
    context.err(`entrepot: without ${silentNodes.join(", ")}: no answer from there\n`);
  return silentNodes.length === 0 && stays.length > 0 ? exitCode.done : exitCode.failed;
}

/** The last one first, as it is asked for mostly. */
function linesOf({ upstream, repository, tag, stays }: TagReport): string[] {
  const name = `${repository}:${tag} from ${upstream}`;
  if (stays.length === 0) return [`${name}: not seen here`];
  return [name, ...stays.map(stayLine).reverse()];
}

function stayLine({ digest, firstSeenAt, by, endedAt, ended, nodes }: ReportedStay): string {
  const end = endedAt === null ? "now" : `${time(endedAt)} ${ended}`;
  const asked = by === null ? "" : `, asked by ${by}`;
  return `  ${digest}  ${time(firstSeenAt)} to ${end}${asked}  (${nodes.join(" ")})`;
}

/** Of UTC, to the second. */
function time(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}
