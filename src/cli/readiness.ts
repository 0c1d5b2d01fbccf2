// `entrepot readiness`: which of the images pulled lately could be pulled now if their registries were gone. With --fix the mirror
// fetches what is missing, and is asked once more.
import { count, duration, size } from "../ops/page/format.ts";
import type { Obstacle, Readiness, UnreadyImage } from "../ops/stats/stats-document.ts";
import { type Context, exitCode } from "./context.ts";
import { answerFrom, type OpsPlace, type OpsPlaceOptions, opsPlace } from "./ops-place.ts";
import { type AskedJob, runJob } from "./warm.ts";

export interface ReadinessFlags extends OpsPlaceOptions {
  readonly days: string;
  /** Prints the answers as they came. */
  readonly json?: boolean;
  readonly fix?: boolean;
}

/** Milliseconds for the answer: the parts of many images are looked for on the disk. */
const patience = 300_000;

/**
 * Gives the exit code: 0 when all are ready, 1 when some are not or that is not known, or the user has ended the command, 2 when no
 * mirror answers or the question is wrong. With `fix` that is of the state after it.
 */
export async function readiness(options: ReadinessFlags, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const ends = new AbortController();
  const release = context.onSignal(() => ends.abort());
  try {
    const code = await lookAndFix(place, options, context, ends.signal);
    return ends.signal.aborted ? exitCode.failed : code;
  } finally {
    release();
  }
}

/** What comes of it counts for nothing when the signal has aborted. */
async function lookAndFix(
  place: OpsPlace,
  options: ReadinessFlags,
  context: Context,
  signal: AbortSignal,
): Promise<number> {
  const found = await look(place, options, context, signal);
  if (found === undefined) return exitCode.usage;
  if (options.fix !== true || found.unready.length === 0) return exitCodeOf(found);
  const { jobs, unknown } = jobsFor(found.unready);
  for (const digest of unknown)
    context.err(`entrepot: no repository is known to have ${digest}: it cannot be fetched\n`);
  for (const job of jobs) {
    const code = await runJob(place, job, options, context, signal);
    if (signal.aborted) return code;
    // What failed is told by the job, and shows in what is found afterwards.
    if (code === exitCode.usage) return code;
  }
  const after = await look(place, options, context, signal);
  return after === undefined ? exitCode.usage : exitCodeOf(after);
}

/** Asks, and prints the answer; undefined when there is none. */
async function look(
  place: OpsPlace,
  { days, json }: ReadinessFlags,
  context: Context,
  signal: AbortSignal,
): Promise<Readiness | undefined> {
  const path = `/api/v1/readiness?${new URLSearchParams({ days })}`;
  const found = (await answerFrom(place, path, context, patience, signal)) as Readiness | undefined;
  if (found === undefined) return undefined;
  context.out(`${json ? JSON.stringify(found) : linesOf(found).join("\n")}\n`);
  return found;
}

function exitCodeOf({ ready, pulled, truncated, silentNodes }: Readiness): number {
  return ready === pulled && !truncated && silentNodes.length === 0 ? exitCode.done : exitCode.failed;
}

/**
 * The jobs that fetch what is missing: of indexes only the platforms that lack something, so that images with the same ones are
 * one job. `unknown`: what no repository is known to have.
 */
export function jobsFor(unready: readonly UnreadyImage[]): {
  readonly jobs: readonly AskedJob[];
  readonly unknown: readonly string[];
} {
  const jobs = new Map<string, { readonly images: string[]; readonly platforms: readonly string[] }>();
  const unknown: string[] = [];
  for (const image of unready) {
    const reference = referenceOf(image);
    if (reference === undefined) {
      unknown.push(image.digest);
      continue;
    }
    const platforms = platformsOf(image);
    const key = platforms.join();
    const job = jobs.get(key) ?? { images: [], platforms };
    jobs.set(key, job);
    job.images.push(reference);
  }
  return { jobs: [...jobs.values()], unknown };
}

/** By its digest, so that a tag that has moved brings nothing else; by its tag where that has to be confirmed. */
function referenceOf({ digest, names, obstacles }: UnreadyImage): string | undefined {
  const [name = "@"] = names;
  if (name.startsWith("@")) return undefined;
  if (obstacles.some(({ kind }) => kind === "tag_expired") || name.includes("@")) return name;
  return `${name.slice(0, name.lastIndexOf(":"))}@${digest}`;
}

/** None where something of unknown platform is missing: then all are fetched. */
function platformsOf({ obstacles }: UnreadyImage): readonly string[] {
  const platforms = obstacles.map(({ platform }) => platform);
  const isKnown = platforms.every((platform) => platform !== null && !platform.startsWith("unknown"));
  return isKnown ? [...new Set(platforms as string[])].sort() : [];
}

function linesOf(found: Readiness): string[] {
  const { at, days, nodes, pulled, ready, truncated, silentNodes, unready } = found;
  const more = pulled - ready - unready.length;
  const through = nodes > 1 ? ` through ${nodes} nodes` : "";
  return [
    `${ready} of ${count(pulled, "image")} pulled${through} in ${count(days, "day")} could be pulled now without upstream`,
    ...unready.flatMap((image) => imageLines(image, at)),
    ...(more > 0 ? [`and ${count(more, "more image")}`] : []),
    ...(truncated ? ["more images were pulled than are looked at"] : []),
    ...silentNodes.map(
      (node) =>
        `node ${node} did not answer: what only it has, and was pulled through it alone, is not known`,
    ),
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
