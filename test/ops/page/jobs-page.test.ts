import t from "tap";
import type { JobSummary } from "../../../src/ops/jobs/job-report.ts";
import { jobsPageHtml } from "../../../src/ops/page/jobs-page.ts";

const job: JobSummary = {
  ...{ id: "0a1b", origin: "schedule", state: "failed", createdAt: 1000, startedAt: 2000, endedAt: 4000 },
  ...{ platforms: [], bytesPerSecond: null },
  sums: {
    ...{ images: 2, imagesDone: 1, imagesFailed: 1, parts: 8, partsHere: 7, sizeBytes: 4_000_000 },
    ...{ hereBytes: 3_000_000, fetchedBytes: 2_000_000, retries: 3, imagesLeftOut: 4 },
  },
  failures: [{ image: "team/<app>:1", part: "sha256:1", reason: "does not have it" }],
};

const page = (jobs: readonly JobSummary[], base = "") =>
  jobsPageHtml(jobs, 10_000, { styles: ["/page/page.css"] }, base);

t.test("a row for each job, with its progress and its failures, escaped", async (t) => {
  const html = page([job]);
  for (const text of [
    "0a1b",
    "failed",
    "schedule",
    "3.00 MB of 4.00 MB",
    "1 of 2, 4 left out",
    "1.00 MB/s",
    "does not have it",
  ])
    t.ok(html.includes(text), text);
  t.ok(html.includes("team/&lt;app&gt;:1"));
  t.notOk(html.includes("http-equiv"), "nothing runs, so it is not loaded again");
  t.notOk(html.includes("<script"));
});

t.test("while one runs the page is loaded again; without any it says so", async (t) => {
  const running = page([{ ...job, state: "running", endedAt: null, failures: [] }], "/mirror");
  t.ok(running.includes('http-equiv="refresh"'));
  t.ok(running.includes('href="/mirror/page/page.css"'));
  t.ok(page([]).includes("None since the start."));
});
