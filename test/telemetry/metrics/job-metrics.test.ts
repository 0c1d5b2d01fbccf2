import { Registry } from "prom-client";
import t from "tap";
import { createJobMetrics } from "../../../src/telemetry/metrics/job-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

t.test("jobs, their images and bytes are counted, from 0 on, by origin and result", async (t) => {
  const registry = new Registry();
  const sink = createJobMetrics(registry);
  const read = async (name: string, labels: Record<string, string>) =>
    sampleOf(parseExposition(await registry.metrics()), `entrepot_${name}_total`, labels);
  const [origin, result] = ["schedule", "failed"] as const;
  for (const name of ["jobs", "job_images"]) t.equal(await read(name, { origin, result }), 0);
  t.equal(await read("job_fetched_bytes", { origin }), 0);
  const image = {
    kind: "sync_job",
    job: "0a1b",
    origin,
    image: "team/app:1",
    from: undefined,
    durationMs: 1,
    retries: 0,
    reason: undefined,
  } as const;
  sink({ ...image, result, bytes: 5 });
  sink({ ...image, result: "done", bytes: 7 });
  sink({ kind: "job", job: "0a1b", origin, result, images: 2, imagesFailed: 1, imagesLeftOut: 0 });
  t.equal(await read("jobs", { origin, result }), 1);
  t.equal(await read("job_images", { origin, result }), 1);
  t.equal(await read("job_images", { origin, result: "done" }), 1);
  t.equal(await read("job_fetched_bytes", { origin }), 12);
  t.equal(await read("jobs", { origin: "request", result }), 0);
});
