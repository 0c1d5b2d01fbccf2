// `entrepot warm`: has a running mirror fetch whole images before clients ask for them, and shows how far it has got.
import { setTimeout as sleep } from "node:timers/promises";
import { readText } from "../config/read-text.ts";
import { parseSize } from "../config/units.ts";
import type { JobReport } from "../ops/jobs/job-report.ts";
import { type Context, exitCode } from "./context.ts";
import { askOps, noAnswer, type OpsPlace, type OpsPlaceOptions, OpsRefusal, opsPlace } from "./ops-place.ts";
import { imagesInList, imagesInManifests } from "./warm-list.ts";
import { jsonView, type ProgressView, textView } from "./warm-progress-view.ts";

export interface WarmOptions extends OpsPlaceOptions {
  readonly from?: readonly string[];
  readonly fromManifests?: readonly string[];
  readonly fromNode?: string;
  /** With fromNode. */
  readonly days?: string;
  readonly platform?: readonly string[];
  readonly bandwidth?: string;
  readonly json?: true;
  readonly cancelOnInterrupt?: true;
}

/** Milliseconds between two questions how far the job has got, and after one that was not answered. */
const askEvery = 500;
const askAgainAfter = 1_000;
/** Questions in a row without an answer, or with 503: a node that starts again has two minutes for it. */
const maxUnanswered = 120;

const path = "/api/v1/jobs";

const realPause: NonNullable<Context["pause"]> = (milliseconds, signal) =>
  sleep(milliseconds, undefined, { signal });

/**
 * Gives the exit code: 0 when all of every image is here, 1 when something is not (or the user has ended the command), 2 for a
 * wrong command line or configuration and when no mirror answers.
 */
export async function warm(
  images: readonly string[],
  options: WarmOptions,
  context: Context,
): Promise<number> {
  const asked = jobOf(images, options, context);
  if (typeof asked === "string") {
    context.err(`entrepot: ${asked}\n`);
    return exitCode.usage;
  }
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const ends = new AbortController();
  const release = context.onSignal(() => ends.abort());
  try {
    return await runJob(place, asked, options, context, ends.signal);
  } finally {
    release();
  }
}

/** Has the mirror fetch images, and shows how far it has got, until `signal` aborts. Gives the exit code, as `warm` does. */
export async function runJob(
  place: OpsPlace,
  asked: AskedJob,
  options: { readonly json?: boolean; readonly cancelOnInterrupt?: boolean },
  context: Context,
  signal: AbortSignal,
): Promise<number> {
  const view = options.json ? jsonView(context.out) : textView(context.out, context.terminal);
  try {
    return await follow(place, asked, view, options, context, signal);
  } catch (error) {
    view.end();
    context.err(`entrepot: ${noAnswer(error, place)}\n`);
    return exitCode.usage;
  } finally {
    view.end();
  }
}

/** See POST of /api/v1/jobs. */
export type AskedJob = (
  | { readonly images: readonly string[] }
  | { readonly fromNode: string; readonly days?: number }
) & {
  readonly platforms: readonly string[];
  readonly bytesPerSecond?: number;
};

/** What is to be asked for; text says what is wrong with the command line. */
function jobOf(images: readonly string[], options: WarmOptions, { readFile }: Context): AskedJob | string {
  const { from = [], fromManifests = [], fromNode, days, platform: platforms = [], bandwidth } = options;
  const all = new Set(images);
  for (const [files, read, flag] of [
    [from, imagesInList, "--from"],
    [fromManifests, imagesInManifests, "--from-manifests"],
  ] as const)
    for (const each of files) {
      const file = readText(each, readFile);
      if (!("text" in file)) return `${flag}: ${each} cannot be read (${file.reason})`;
      try {
        for (const image of read(file.text)) all.add(image);
      } catch (error) {
        return `${flag}: ${each}: ${(error as Error).message}`;
      }
    }
  if (days !== undefined && fromNode === undefined) return "--days: only with --from-node";
  if (fromNode !== undefined && images.length + from.length + fromManifests.length > 0)
    return "--from-node: it is a job of its own: leave out images, --from and --from-manifests";
  if (fromNode === undefined && all.size === 0)
    return "warm: name an image, a file with --from or --from-manifests, or a node with --from-node";
  const ofNode =
    fromNode === undefined ? undefined : { fromNode, ...(days === undefined ? {} : { days: Number(days) }) };
  const asked = { ...(ofNode ?? { images: [...all] }), platforms };
  if (bandwidth === undefined) return asked;
  const parsed = parseSize(bandwidth.replace(/\/s$/, ""), 65_536);
  if ("value" in parsed) return { ...asked, bytesPerSecond: parsed.value };
  return `--bandwidth: found ${JSON.stringify(bandwidth)}, expected ${parsed.expected} a second`;
}

/**
 * Asks again for the whole job when the node has been started again: what is here is not fetched twice. A node that listens and
 * does not serve yet answers 404 for the job and 503 for a new one, which is waited for as for an answer.
 */
async function follow(
  place: OpsPlace,
  asked: AskedJob,
  view: ProgressView,
  { cancelOnInterrupt }: { readonly cancelOnInterrupt?: boolean },
  { err, pause = realPause }: Context,
  signal: AbortSignal,
): Promise<number> {
  const begin = async () =>
    (await askOps(place, path, undefined, { method: "POST", body: asked })) as JobReport;
  let job = await begin();
  // The mirror has forgotten the job, and not begun it again.
  let isLost = false;
  for (let unanswered = 0; ; ) {
    view.show(job);
    if (job.endedAt !== null) return job.state === "done" ? exitCode.done : exitCode.failed;
    await pause(unanswered === 0 ? askEvery : askAgainAfter, signal).catch(() => {});
    if (signal.aborted) {
      view.end();
      if (cancelOnInterrupt === true && !isLost)
        await askOps(place, `${path}/${job.id}`, undefined, { method: "DELETE" });
      const fate = cancelOnInterrupt === true ? "is ended" : "goes on in the mirror";
      err(`entrepot: job ${job.id} ${isLost ? "has not begun again" : fate}\n`);
      return exitCode.failed;
    }
    try {
      job = isLost ? await begin() : ((await askOps(place, `${path}/${job.id}`)) as JobReport);
      [isLost, unanswered] = [false, 0];
    } catch (error) {
      const refused = error instanceof OpsRefusal ? error.status : undefined;
      if (refused === 404 && !isLost) {
        err("entrepot: the mirror has been started again: asking for the rest\n");
        [isLost, unanswered] = [true, 0];
      } else if ((refused !== undefined && refused < 500) || ++unanswered >= maxUnanswered) throw error;
    }
  }
}
