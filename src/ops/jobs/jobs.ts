// Jobs: lists of images that this node fetches before clients ask for them. They are kept in memory: a restart ends and forgets
// them, and whoever asks again goes on from what is here.
import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../ports/clock.ts";
import type { JobOrigin, JobResult, NoticeSink } from "../../ports/event.ts";
import { eachAtOnce } from "../../ports/turns.ts";
import type { JobFailure, JobImage, JobReport, JobState, JobSummary } from "./job-report.ts";

/** Jobs of one origin that run at once: none waits for those of another. */
const maxRunning = 2;
/** Jobs of one origin that wait, and the images of all of them; one beyond these is refused. */
const maxWaiting = 100;
const maxWaitingImages = 10_000;
/** Images of one job. */
export const maxImages = 1_000;
/** Images of one job at once. */
const imagesAtOnce = 2;
/** Jobs of one origin that are over and still told of, and the images of all of them; the oldest are forgotten. */
const maxKept = 100;
const maxKeptImages = 10_000;
const maxFailures = 5;

/** How far an image has got, as it is told. */
export type ImageState = Omit<JobImage, "image" | "state" | "durationMs">;

/** An image that is worked at. */
export interface ImageRun {
  report(): ImageState;
  /** Fetches it. Rejects only with the signal's reason. */
  run(signal: AbortSignal): Promise<void>;
  /** Looks again whether all of it is here, once the whole job is over: what came last may have driven out what came first. */
  recheck(): void;
}

/** An image to be fetched. */
export interface WantedImage {
  readonly image: string;
  begin(job: JobSettings & { readonly id: string }): ImageRun;
}

export interface JobSettings {
  readonly origin: JobOrigin;
  readonly platforms: readonly string[];
  readonly bytesPerSecond: number | undefined;
}

export interface JobsOptions {
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

interface Image {
  readonly wanted: WantedImage;
  /** While the job runs. */
  run: ImageRun | undefined;
  /** Once the image is over: it is not summed up again at every question. */
  last: ImageState | undefined;
  state: JobImage["state"];
  startedAt: number;
  durationMs: number | null;
}

interface Job extends JobSettings {
  readonly id: string;
  readonly createdAt: number;
  readonly ends: AbortController;
  readonly images: Image[];
  /** Images beyond the most of one job. */
  readonly leftOut: number;
  state: JobState;
  startedAt: number | null;
  endedAt: number | null;
  /** Once it is over. */
  summary: JobSummary | undefined;
}

const nothing: ImageState = {
  upstream: null,
  repository: null,
  digest: null,
  parts: 0,
  partsHere: 0,
  sizeBytes: 0,
  hereBytes: 0,
  fetchedBytes: 0,
  retries: 0,
  transfers: [],
  failures: [],
  failed: 0,
};

export class Jobs {
  readonly #options: JobsOptions;
  /** In the order in which they were added. */
  readonly #all = new Map<string, Job>();
  readonly #lanes: Readonly<Record<JobOrigin, { readonly waiting: Job[]; running: number }>> = {
    request: { waiting: [], running: 0 },
    schedule: { waiting: [], running: 0 },
    webhook: { waiting: [], running: 0 },
    pin: { waiting: [], running: 0 },
  };
  #stopped = false;

  constructor(options: JobsOptions) {
    this.#options = options;
  }

  /**
   * The id of the new job; undefined when too many wait, or the node stops. At most `maxImages` images are taken; the job
   * says how many were left out, with those that `leftOut` says were before.
   */
  add(wanted: readonly WantedImage[], settings: JobSettings, leftOut = 0): string | undefined {
    const images = wanted.slice(0, maxImages);
    const lane = this.#lanes[settings.origin];
    const waiting = lane.waiting.reduce((sum, { images }) => sum + images.length, 0);
    if (this.#stopped || lane.waiting.length >= maxWaiting || waiting + images.length > maxWaitingImages)
      return undefined;
    const job: Job = {
      ...settings,
      id: randomBytes(6).toString("hex"),
      createdAt: this.#options.clock(),
      ends: new AbortController(),
      images: images.map((wanted) => ({
        wanted,
        run: undefined,
        last: undefined,
        state: "queued",
        startedAt: 0,
        durationMs: null,
      })),
      leftOut: leftOut + wanted.length - images.length,
      state: "queued",
      startedAt: null,
      endedAt: null,
      summary: undefined,
    };
    this.#all.set(job.id, job);
    lane.waiting.push(job);
    if (lane.running < maxRunning) void this.#work(settings.origin);
    return job.id;
  }

  /** The newest first. */
  list(): JobSummary[] {
    return [...this.#all.values()].reverse().map(summaryOf);
  }

  get(id: string): JobReport | undefined {
    const job = this.#all.get(id);
    return job && { ...summaryOf(job), images: job.images.map(reportOf) };
  }

  /** Whether there is such a job. What it has fetched stays; the layers under way end within a minute. */
  cancel(id: string): boolean {
    const job = this.#all.get(id);
    job?.ends.abort(new Error("the job was cancelled"));
    if (job?.state === "queued") {
      const { waiting } = this.#lanes[job.origin];
      waiting.splice(waiting.indexOf(job), 1);
      this.#end(job);
    }
    return job !== undefined;
  }

  /** Ends every job. */
  stop(): void {
    this.#stopped = true;
    for (const { id } of this.#all.values()) this.cancel(id);
  }

  async #work(origin: JobOrigin): Promise<void> {
    const lane = this.#lanes[origin];
    lane.running++;
    for (let job = lane.waiting.shift(); job !== undefined; job = lane.waiting.shift()) await this.#run(job);
    lane.running--;
  }

  async #run(job: Job): Promise<void> {
    job.state = "running";
    job.startedAt = this.#options.clock();
    await eachAtOnce(job.images, imagesAtOnce, (image) => this.#image(job, image));
    for (const image of job.images) {
      if (image.state !== "done") continue;
      // Requests have their turn meanwhile.
      await setImmediate();
      image.run?.recheck();
      image.last = image.run?.report();
      if ((image.last?.failed ?? 0) > 0) image.state = "failed";
    }
    this.#end(job);
  }

  async #image(job: Job, image: Image): Promise<void> {
    const { signal } = job.ends;
    if (signal.aborted) {
      image.state = "cancelled";
      return;
    }
    const { clock } = this.#options;
    image.startedAt = clock();
    image.state = "running";
    const run = image.wanted.begin(job);
    image.run = run;
    await run.run(signal).catch(() => {});
    const last = run.report();
    image.last = last;
    image.state = signal.aborted ? "cancelled" : last.failed > 0 ? "failed" : "done";
    image.durationMs = clock() - image.startedAt;
    this.#tell(job, image, image.state, last);
  }

  #tell({ id, origin }: Job, { wanted, durationMs }: Image, result: JobResult, report: ImageState): void {
    const { upstream, repository, fetchedBytes, retries, failures } = report;
    const [first] = failures;
    this.#options.notices({
      kind: "sync_job",
      job: id,
      origin,
      image: wanted.image,
      result,
      from: upstream === null || repository === null ? undefined : { upstream, repository },
      bytes: fetchedBytes,
      durationMs: durationMs ?? 0,
      retries,
      reason: first && `${first.part}: ${first.reason}`,
    });
  }

  #end(job: Job): void {
    for (const image of job.images) {
      if (image.state === "queued") image.state = "cancelled";
      image.run = undefined;
    }
    const failed = job.leftOut > 0 || job.images.some(({ state }) => state === "failed");
    const result = job.ends.signal.aborted ? "cancelled" : failed ? "failed" : "done";
    job.state = result;
    job.endedAt = this.#options.clock();
    job.summary = summaryOf(job);
    const { images: all, imagesFailed, imagesLeftOut } = job.summary.sums;
    const { id, origin } = job;
    this.#options.notices({ kind: "job", job: id, origin, result, images: all, imagesFailed, imagesLeftOut });
    const over = [...this.#all.values()].filter(
      ({ origin, endedAt }) => origin === job.origin && endedAt !== null,
    );
    let [jobs, images] = [over.length, over.reduce((sum, { images }) => sum + images.length, 0)];
    for (const each of over) {
      if (each === job || (jobs <= maxKept && images <= maxKeptImages)) break;
      this.#all.delete(each.id);
      jobs--;
      images -= each.images.length;
    }
  }
}

function reportOf({ wanted, run, last, state, durationMs }: Image): JobImage {
  return { image: wanted.image, state, durationMs, ...(last ?? run?.report() ?? nothing) };
}

function summaryOf(job: Job): JobSummary {
  if (job.summary !== undefined) return job.summary;
  const { id, origin, state, createdAt, startedAt, endedAt, platforms, bytesPerSecond } = job;
  const images = job.images.map(reportOf);
  const sum = (of: (image: JobImage) => number): number => images.reduce((all, image) => all + of(image), 0);
  const failures = images.flatMap(({ image, failures }): JobFailure[] =>
    failures.map((failure) => ({ image, ...failure })),
  );
  return {
    id,
    origin,
    state,
    createdAt,
    startedAt,
    endedAt,
    platforms,
    bytesPerSecond: bytesPerSecond ?? null,
    sums: {
      images: images.length,
      imagesDone: images.filter((image) => image.state === "done").length,
      imagesFailed: images.filter((image) => image.state === "failed").length,
      parts: sum((image) => image.parts),
      partsHere: sum((image) => image.partsHere),
      sizeBytes: sum((image) => image.sizeBytes),
      hereBytes: sum((image) => image.hereBytes),
      fetchedBytes: sum((image) => image.fetchedBytes),
      retries: sum((image) => image.retries),
      imagesLeftOut: job.leftOut,
    },
    failures: failures.slice(0, maxFailures),
  };
}
