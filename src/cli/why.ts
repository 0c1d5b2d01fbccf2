// `entrepot why`: what a running mirror has of one image, in a terminal.
import { duration, size } from "../ops/page/format.ts";
import type { ExplainedPart, Explanation } from "../ops/stats/stats-document.ts";
import { type Context, exitCode } from "./context.ts";
import { askOps, type OpsPlace, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export type WhyOptions = OpsPlaceOptions;

/** Prints the answer; gives the exit code: 1 when no mirror answers, 2 for what is no reference or configuration. */
export async function why(reference: string, options: WhyOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const explanation = await ask(place, reference, context);
  if (explanation === undefined) return exitCode.failed;
  if (explanation.kind === "unreadable") {
    context.err(`entrepot: ${JSON.stringify(explanation.reference)}: ${explanation.reason}\n`);
    return exitCode.usage;
  }
  context.out(`${linesOf(explanation).join("\n")}\n`);
  return exitCode.done;
}

async function ask(place: OpsPlace, reference: string, context: Context): Promise<Explanation | undefined> {
  try {
    const query = new URLSearchParams({ reference });
    return (await askOps(place, `/explain.json?${query}`)) as Explanation;
  } catch (error) {
    const { cause = error } = error as Error;
    context.err(
      `entrepot: no mirror answers at ${place.socket ?? place.origin} (${(cause as Error).message})\n`,
    );
    return undefined;
  }
}

function linesOf(explanation: Explanation & { kind: "explained" }): string[] {
  const { upstream, repository, reference, summary, tag, at, parts, truncated } = explanation;
  const name = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
  return [
    `${name} from ${upstream}: ${summary}`,
    ...(tag === null ? [] : [`tag: ${tag.state}, checked ${duration(at - tag.checkedAt)} ago`]),
    ...parts.map((part) => lineOf(part, at)),
    ...(truncated ? ["and more"] : []),
  ];
}

function lineOf(part: ExplainedPart, now: number): string {
  const { digest, kind, depth, state, where, sizeBytes, usedAt, linked, repositories } = part;
  const facts = [
    sizeBytes === null ? undefined : size(sizeBytes),
    where.join(" ") || undefined,
    usedAt === null ? undefined : `used ${duration(now - usedAt)} ago`,
    linked ? undefined : "not linked to this repository",
    repositories.length > 1 ? `in ${repositories.join(" ")}` : undefined,
  ];
  const indent = "  ".repeat(depth);
  return `${state.padEnd(8)}${indent}${kind} ${digest}  ${facts.filter((fact) => fact !== undefined).join(", ")}`.trimEnd();
}
