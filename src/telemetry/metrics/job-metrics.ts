// The metrics of images that are fetched ahead, from the notices about jobs.
import { Counter, type Registry } from "prom-client";
import { jobOrigins, jobResults, type NoticeSink } from "../../ports/event.ts";
import { amount } from "./label.ts";

/** Registers them, with the known series at 0, and returns their sink. */
export function createJobMetrics(registry: Registry): NoticeSink {
  const jobs = new Counter({
    name: "entrepot_jobs_total",
    help: "Jobs that are over, by what began them and how they ended.",
    labelNames: ["origin", "result"],
    registers: [registry],
  });
  const images = new Counter({
    name: "entrepot_job_images_total",
    help: "Images of jobs that are done with, by what began the job and what came of them.",
    labelNames: ["origin", "result"],
    registers: [registry],
  });
  const bytes = new Counter({
    name: "entrepot_job_fetched_bytes_total",
    help: "Bytes that came because of jobs.",
    labelNames: ["origin"],
    registers: [registry],
  });
  for (const origin of jobOrigins) {
    bytes.inc({ origin }, 0);
    for (const result of jobResults) {
      jobs.inc({ origin, result }, 0);
      images.inc({ origin, result }, 0);
    }
  }
  return (notice) => {
    if (notice.kind === "job") jobs.inc({ origin: notice.origin, result: notice.result });
    if (notice.kind !== "sync_job") return;
    images.inc({ origin: notice.origin, result: notice.result });
    bytes.inc({ origin: notice.origin }, amount(notice.bytes));
  };
}
