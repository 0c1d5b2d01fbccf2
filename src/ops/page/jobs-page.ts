// The page of jobs: which images this node fetches, or has fetched, before clients ask for them. It has no script: while a
// job runs it is loaded again.
import type { JobState, JobSummary } from "../jobs/job-report.ts";
import { below, documentHtml } from "./document.ts";
import { count, duration, number, rate, size } from "./format.ts";
import { type Content, h } from "./html.ts";
import { icon } from "./icon.ts";
import type { PageAssets } from "./page.ts";
import { ago, bar, section, state, table } from "./parts.ts";

/** Seconds between two loads while a job waits or runs. */
const refresh = 5;

const levels: Readonly<Record<JobState, "ok" | "warn" | "bad">> = {
  queued: "ok",
  running: "ok",
  done: "ok",
  failed: "bad",
  cancelled: "warn",
};

/** `at`: now. `basePath`: see pageHtml. */
export function jobsPageHtml(
  jobs: readonly JobSummary[],
  at: number,
  { styles }: Pick<PageAssets, "styles">,
  basePath: string,
): string {
  const to = below(basePath);
  const isBusy = jobs.some(({ endedAt }) => endedAt === null);
  const head = [
    isBusy && h("meta", { "http-equiv": "refresh", content: refresh }),
    h("title", {}, "entrepot: jobs"),
    h("link", { rel: "icon", href: icon("ok") }),
    styles.map((path) => h("link", { rel: "stylesheet", href: to(path) })),
  ];
  const home = basePath === "" ? "./" : `${basePath}/`;
  const body = [
    h("header", {}, h("h1", {}, h("a", { href: home }, "entrepot"))),
    h("main", {}, jobsView(jobs, at)),
    h("footer", {}, h("a", { href: to("/api/v1/jobs") }, "jobs as JSON")),
  ];
  return documentHtml(head, body);
}

function jobsView(jobs: readonly JobSummary[], at: number): Content {
  const names = [
    "Job",
    "State",
    "By",
    "Begun",
    "Took",
    "Progress",
    "Images",
    "Fetched",
    "Rate",
    "Retries",
    "Failures",
  ];
  const numbers = new Set(["Took", "Images", "Fetched", "Rate", "Retries"]);
  const columns = names.map((name) => (numbers.has(name) ? { name, number: true as const } : { name }));
  const rows = jobs.map((job) => rowOf(job, at));
  return section(
    "jobs",
    "Jobs",
    h(
      "p",
      { class: "note" },
      "Images fetched onto this node's disk before clients ask for them: by entrepot warm, by the schedules of warm, by webhooks. A restart forgets them.",
    ),
    table("Jobs", columns, rows, "None since the start."),
  );
}

function rowOf(job: JobSummary, at: number): Content[] {
  const { id, origin, sums, startedAt, endedAt, createdAt } = job;
  const took = startedAt === null ? null : (endedAt ?? at) - startedAt;
  const share = sums.sizeBytes === 0 ? null : sums.hereBytes / sums.sizeBytes;
  return [
    h("code", {}, id),
    state(levels[job.state], job.state),
    origin,
    ago(startedAt ?? createdAt, at),
    took === null ? "–" : duration(took),
    job.state === "done"
      ? size(sums.sizeBytes)
      : [bar(`Progress of job ${id}`, share ?? 0), ` ${size(sums.hereBytes)} of ${size(sums.sizeBytes)}`],
    `${number(sums.imagesDone)} of ${number(sums.images)}${sums.imagesLeftOut === 0 ? "" : `, ${number(sums.imagesLeftOut)} left out`}`,
    size(sums.fetchedBytes),
    took === null || took === 0 ? "–" : rate((sums.fetchedBytes / took) * 1000),
    number(sums.retries),
    failuresOf(job),
  ];
}

function failuresOf({ failures, sums }: JobSummary): Content {
  if (sums.imagesFailed === 0 && failures.length === 0) return "none";
  const [first] = failures;
  return h(
    "details",
    {},
    h("summary", {}, `${count(sums.imagesFailed, "image")} failed`),
    failures.map(({ image, part, reason }) => h("p", {}, h("code", {}, image), ` ${part}: ${reason}`)),
    first === undefined && "see the log",
  );
}
