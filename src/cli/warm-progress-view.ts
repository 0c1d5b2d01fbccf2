// What `entrepot warm` shows while a job runs: bars on a terminal, lines where it is piped, JSON for programs.
import { MultiBar, Presets, type SingleBar } from "cli-progress";
import type { JobImage, JobReport } from "../ops/jobs/job-report.ts";
import { count, duration, shortDigest, size } from "../ops/page/format.ts";

export interface ProgressView {
  /** How far the job has got; called again and again, and once when it is over. */
  show(job: JobReport): void;
  /** Takes the bars away. Idempotent. */
  end(): void;
}

/** Bars of single layers. */
const maxBars = 8;

const isOver = ({ state }: JobImage): boolean =>
  state === "done" || state === "failed" || state === "cancelled";

/** Calls `tell` for each image when it is over, and again should it turn out at the end that some of it has gone again. */
function eachOver(tell: (image: JobImage) => void): (job: JobReport) => void {
  const told = new Map<number, JobImage["state"]>();
  return ({ images }) => {
    for (const [at, image] of images.entries()) {
      if (!isOver(image) || told.get(at) === image.state) continue;
      told.set(at, image.state);
      tell(image);
    }
  };
}

/** A line of JSON for each image that is over, and one for the whole job, without its images, at its end. */
export function jsonView(out: (text: string) => void): ProgressView {
  const line = (value: object): void => out(`${JSON.stringify(value)}\n`);
  const images = eachOver((image) => line(image));
  return {
    show(job) {
      images(job);
      const { images: _, ...summary } = job;
      if (job.endedAt !== null) line(summary);
    },
    end() {},
  };
}

/** Lines, and bars above them on a terminal. */
export function textView(
  out: (text: string) => void,
  terminal: NodeJS.WritableStream | undefined,
): ProgressView {
  const bars = terminal === undefined ? undefined : new Bars(terminal);
  const images = eachOver((image) => {
    for (const line of linesOf(image))
      if (bars === undefined) out(`${line}\n`);
      else bars.log(line);
  });
  return {
    show(job) {
      images(job);
      bars?.show(job);
      if (job.endedAt === null) return;
      bars?.end();
      out(`${totalOf(job)}\n`);
    },
    end: () => bars?.end(),
  };
}

class Bars {
  readonly #multi: MultiBar;
  #total: SingleBar | undefined;
  readonly #layers = new Map<string, SingleBar>();

  constructor(stream: NodeJS.WritableStream) {
    const format = "{name} {bar} {done} of {all}";
    this.#multi = new MultiBar(
      { stream, format, barsize: 30, clearOnComplete: true, hideCursor: true, gracefulExit: false },
      Presets.shades_classic,
    );
  }

  log(line: string): void {
    this.#multi.log(`${line}\n`);
  }

  show({ sums, images }: JobReport): void {
    const told = (name: string, done: number, all: number) => ({
      name: name.padEnd(19),
      done: size(done),
      all: size(all),
    });
    const name = `${sums.imagesDone + sums.imagesFailed}/${count(sums.images, "image")}`;
    const { hereBytes, sizeBytes } = sums;
    this.#total ??= this.#multi.create(1, 0, told(name, 0, 0));
    this.#total.setTotal(Math.max(1, sizeBytes));
    this.#total.update(hereBytes, told(name, hereBytes, sizeBytes));
    const running = images.flatMap(({ transfers }) => transfers).slice(0, maxBars);
    for (const [digest, bar] of this.#layers)
      if (!running.some((each) => each.digest === digest)) {
        this.#multi.remove(bar);
        this.#layers.delete(digest);
      }
    for (const { digest, receivedBytes, sizeBytes } of running) {
      const all = Math.max(1, sizeBytes ?? receivedBytes);
      const shown = told(shortDigest(digest), receivedBytes, all);
      const bar = this.#layers.get(digest) ?? this.#multi.create(all, 0, shown);
      this.#layers.set(digest, bar);
      bar.update(receivedBytes, shown);
    }
  }

  end(): void {
    if (!this.#multi.isActive) return;
    // Lines are written with the next drawing, of which there would be none.
    this.#multi.update();
    this.#multi.stop();
  }
}

function linesOf(image: JobImage): string[] {
  const { state, parts, partsHere, sizeBytes, fetchedBytes, durationMs, failures, failed, retries } = image;
  const facts = [
    partsHere === parts ? count(parts, "part") : `${partsHere} of ${count(parts, "part")}`,
    size(sizeBytes),
    `${size(fetchedBytes)} fetched`,
    durationMs === null ? undefined : duration(durationMs),
    retries === 0 ? undefined : count(retries, "repeat"),
  ];
  const word = { done: "here", failed: "failed", cancelled: "ended", queued: "queued", running: "running" }[
    state
  ];
  return [
    `${word.padEnd(7)} ${image.image}  ${facts.filter((fact) => fact !== undefined).join(", ")}`,
    ...failures.map(({ part, reason }) => `        ${part}: ${reason}`),
    ...(failed > failures.length ? [`        and ${failed - failures.length} more`] : []),
  ];
}

function totalOf({ id, state, sums, startedAt, endedAt, createdAt }: JobReport): string {
  const took = duration((endedAt ?? createdAt) - (startedAt ?? createdAt));
  const { imagesDone, images, fetchedBytes, sizeBytes } = sums;
  return `job ${id} ${state}: ${imagesDone} of ${count(images, "image")} here, ${size(sizeBytes)}, ${size(fetchedBytes)} fetched, ${took}`;
}
