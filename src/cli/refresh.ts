// `entrepot refresh`: has a running mirror ask again for one tag or image now.
import { count, size } from "../ops/page/format.ts";
import type { RefreshedNode, RefreshReport } from "../ops/purge/purge-report.ts";
import { type Context, exitCode } from "./context.ts";
import { askOps, noAnswer, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export interface RefreshOptions extends OpsPlaceOptions {
  /** Prints the answer as it came. */
  readonly json?: true;
}

/** Milliseconds. */
const patience = 60_000;

/**
 * Prints what it was and is on each node; gives the exit code: 0 when upstream has said so, or what is stored is right or
 * still being looked at, on every node that answers; 1 when it is not there any more, or could not be asked for; 2 for a
 * wrong reference or configuration, and when no mirror answers.
 */
export async function refresh(reference: string, options: RefreshOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  try {
    const report = (await askOps(place, "/api/v1/refresh", patience, {
      method: "POST",
      body: { reference },
    })) as RefreshReport;
    const text = options.json ? JSON.stringify(report) : linesOf(report).join("\n");
    context.out(`${text}\n`);
    const isWrong = ({ state }: RefreshedNode): boolean => state === "failed" || state === "gone";
    return report.nodes.some(isWrong) ? exitCode.failed : exitCode.done;
  } catch (error) {
    context.err(`entrepot: ${noAnswer(error, place)}\n`);
    return exitCode.usage;
  }
}

function linesOf({ upstream, repository, reference, chosenBy, nodes }: RefreshReport): string[] {
  const name = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
  return [
    `${name} from ${upstream}, for ${chosenBy}`,
    ...nodes.map((node) => `node ${node.name}: ${nodeText(node)}`),
  ];
}

function nodeText({ state, was, is, checked, wrong, bytes, problem }: RefreshedNode): string {
  const hashed = `${count(checked, "part")} hashed, ${size(bytes)}`;
  switch (state) {
    case "unchanged":
      return `unchanged, ${is}`;
    case "moved":
      return `moved from ${was} to ${is}`;
    case "new":
      return `was not here, and is ${is}`;
    case "gone":
      return `upstream does not have it or refuses it${was === null ? "" : `; it was ${was}`}`;
    case "sound":
      return `right: ${hashed}`;
    case "fetched":
      return `${hashed}; ${count(wrong, "part")} wrong or missing, and fetched again`;
    case "running":
      return `${hashed} so far, and it goes on`;
    case "failed":
      return `failed: ${problem ?? "nobody knows why"}`;
    case "away":
      return "away";
  }
}
