// `entrepot readiness`: which of the images pulled lately could be pulled now if their registries were gone.
import { count, duration, size } from "../ops/page/format.ts";
import type { Obstacle, Readiness, UnreadyImage } from "../ops/stats/stats-document.ts";
import { type Context, exitCode } from "./context.ts";
import { answerFrom, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";

export interface ReadinessFlags extends OpsPlaceOptions {
  readonly days: string;
  /** Prints the answer as it came. */
  readonly json?: boolean;
}

/** Milliseconds for the answer: the parts of many images are looked for on the disk. */
const patience = 300_000;

/** Gives the exit code: 0 when all are ready, 1 when some are not, 2 when no mirror answers or the question is wrong. */
export async function readiness(options: ReadinessFlags, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const path = `/api/v1/readiness?${new URLSearchParams({ days: options.days })}`;
  const found = (await answerFrom(place, path, context, patience)) as Readiness | undefined;
  if (found === undefined) return exitCode.usage;
  const text = options.json ? JSON.stringify(found) : linesOf(found).join("\n");
  context.out(`${text}\n`);
  return found.ready === found.pulled && !found.truncated ? exitCode.done : exitCode.failed;
}

function linesOf(found: Readiness): string[] {
  const { at, days, pulled, ready, truncated, unready } = found;
  const more = pulled - ready - unready.length;
  return [
    `${ready} of ${count(pulled, "image")} pulled in ${count(days, "day")} could be pulled now without upstream`,
    ...unready.flatMap((image) => imageLines(image, at)),
    ...(more > 0 ? [`and ${count(more, "more image")}`] : []),
    ...(truncated ? ["more images were pulled than are looked at"] : []),
  ];
}

function imageLines({ names, usedAt, obstacles }: UnreadyImage, at: number): string[] {
  const [first = "", ...others] = names;
  const also = others.length > 0 ? ` (also ${others.join(" ")})` : "";
  return [
    `${first}${also}, used ${duration(at - usedAt)} ago`,
    ...obstacles.map((each) => `  ${textOf(each)}`),
  ];
}

function textOf({ kind, role, digest, platform, sizeBytes }: Obstacle): string {
  const facts = [platform, sizeBytes === null ? null : size(sizeBytes)].filter((fact) => fact !== null);
  return `${kind.replace("_", " ")}: ${role} ${digest}${facts.length > 0 ? `, ${facts.join(", ")}` : ""}`;
}
