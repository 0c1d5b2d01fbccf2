// `entrepot why`: what a running mirror has of one image, in a terminal.
import { duration, size } from "../ops/page/format.ts";
import type { ExplainedImage, ExplainedPart, Explanation } from "../ops/stats/stats-document.ts";
import { type Context, exitCode } from "./context.ts";
import { answerFrom, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export interface WhyOptions extends OpsPlaceOptions {
  /** Prints the answer as it came. */
  readonly json?: boolean;
}

type Explained = Explanation & { kind: "explained" };

/**
 * Prints the answer; gives the exit code: 0 when the image is here as a whole, 1 when it is not, 2 when there is no answer.
 */
export async function why(reference: string, options: WhyOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const path = `/api/v1/why?${new URLSearchParams({ reference })}`;
  const explanation = (await answerFrom(place, path, context)) as Explained | undefined;
  if (explanation === undefined) return exitCode.usage;
  const text = options.json ? JSON.stringify(explanation) : linesOf(explanation).join("\n");
  context.out(`${text}\n`);
  return explanation.whole ? exitCode.done : exitCode.failed;
}

function linesOf(explanation: Explained): string[] {
  const { upstream, repository, reference, chosenBy, summary, tag, at, parts, truncated } = explanation;
  const { images, withoutUpstream } = explanation;
  const name = `${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
  return [
    `${name} from ${upstream}: ${summary}`,
    `upstream: ${upstream}, for ${chosenBy}`,
    ...(tag === null ? [] : [`tag: ${tag.state}, checked ${duration(at - tag.checkedAt)} ago`]),
    ...(images.length > 1 ? images.map(imageLine) : []),
    pullLine(explanation),
    `without upstream: ${withoutUpstream.served ? "served" : "not served"}: ${withoutUpstream.why}`,
    ...parts.map((part) => partLine(part, at)),
    ...(truncated ? ["and more"] : []),
  ];
}

function imageLine({ digest, platform, state, missingParts, missingBytes }: ExplainedImage): string {
  const missing = `${missingParts} parts missing${missingBytes === null ? "" : `, ${size(missingBytes)}`}`;
  return `image: ${platform ?? digest}: ${state === "partly" ? missing : state}`;
}

function pullLine({ pull: { bytes, complete, durationMs, siblings } }: Explained): string {
  const took = durationMs === null || bytes === 0 ? "" : `, some ${duration(durationMs)} at the rate of late`;
  const first = siblings.length === 0 ? "" : `, of which siblings are asked first: ${siblings.join(", ")}`;
  return `a pull now: ${size(bytes)} from upstream${complete ? "" : " and what is not known"}${took}${first}`;
}

function partLine(part: ExplainedPart, now: number): string {
  const { digest, kind, role, platform, depth, state, where, sizeBytes, usedAt, checkedAt } = part;
  const { linked, repositories, tags } = part;
  const facts = [
    sizeBytes === null ? undefined : size(sizeBytes),
    platform ?? undefined,
    where.join(" ") || undefined,
    usedAt === null ? undefined : `used ${duration(now - usedAt)} ago`,
    checkedAt === null ? undefined : `hashed ${duration(now - checkedAt)} ago`,
    linked ? undefined : "not linked to this repository",
    repositories.length > 1 ? `in ${repositories.join(" ")}` : undefined,
    tags.length > 1 ? `of ${tags.join(" ")}` : undefined,
  ];
  const indent = "  ".repeat(depth);
  return `${state.padEnd(8)}${indent}${role ?? kind} ${digest}  ${facts.filter((fact) => fact !== undefined).join(", ")}`.trimEnd();
}
