import fc from "fast-check";
import { Registry } from "prom-client";
import t from "tap";
import { type RequestEvent, results, routeKinds } from "../../../src/ports/event.ts";
import { sourceLabels } from "../../../src/telemetry/metrics/label.ts";
import { createRequestMetrics } from "../../../src/telemetry/metrics/request-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

async function after(events: readonly RequestEvent[]) {
  const registry = new Registry();
  const sink = createRequestMetrics(registry);
  for (const event of events) sink(event);
  return parseExposition(await registry.metrics());
}

t.test("every kind of read and every result is there before the first request", async (t) => {
  const families = await after([]);
  for (const type of ["blob", "manifest_tag", "manifest_digest", "tags", "referrers", "other"])
    for (const result of results)
      t.equal(sampleOf(families, "entrepot_requests_total", { type, result }), 0, `${type} ${result}`);
  for (const route of routeKinds) {
    for (const source of ["memory", "disk", "s3", "upstream", "none"])
      t.equal(
        sampleOf(families, "entrepot_response_bytes_total", { route, source }),
        0,
        `${route} ${source}`,
      );
    t.equal(sampleOf(families, "entrepot_http_requests_total", { route, method: "GET", code: "502" }), 0);
  }
});

t.test("an event counts once in each family", async (t) => {
  const families = await after([
    sampleEvent(),
    sampleEvent({
      route: "manifest_tag",
      method: "HEAD",
      result: "stale",
      source: "upstream:hub",
      bytesSent: 5,
    }),
    sampleEvent({
      route: "catalog",
      status: 502,
      result: "error",
      source: "none",
      ttfbMs: undefined,
      bytesSent: 0,
    }),
  ]);
  t.equal(sampleOf(families, "entrepot_requests_total", { type: "blob", result: "hit" }), 1);
  t.equal(sampleOf(families, "entrepot_requests_total", { type: "manifest_tag", result: "stale" }), 1);
  t.equal(sampleOf(families, "entrepot_requests_total", { type: "other", result: "error" }), 1);
  t.equal(
    sampleOf(families, "entrepot_http_requests_total", { route: "blob", method: "GET", code: "200" }),
    1,
  );
  t.equal(
    sampleOf(families, "entrepot_http_requests_total", {
      route: "manifest_tag",
      method: "HEAD",
      code: "200",
    }),
    1,
  );
  t.equal(sampleOf(families, "entrepot_response_bytes_total", { route: "blob", source: "disk" }), 1000);
  t.equal(
    sampleOf(families, "entrepot_response_bytes_total", { route: "manifest_tag", source: "upstream" }),
    5,
  );
  const seconds = { route: "blob", result: "hit" };
  t.equal(sampleOf(families, "entrepot_http_request_duration_seconds_sum", seconds), 0.020125);
  t.equal(sampleOf(families, "entrepot_http_request_ttfb_seconds_sum", seconds), 0.00325);
  const failed = { route: "catalog", result: "error" };
  t.equal(sampleOf(families, "entrepot_http_request_duration_seconds_count", failed), 1);
  t.equal(
    sampleOf(families, "entrepot_http_request_ttfb_seconds_count", failed),
    undefined,
    "nothing was sent",
  );
});

t.test("whatever clients send: the sums hold, and the number of series has a ceiling", async (t) => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom("__proto__", '"} 1\n', "\\"),
  );
  const events = fc.sample(
    fc.record({
      method: text,
      path: text,
      repository: text,
      reference: text,
      userAgent: text,
      detail: text,
      id: text,
      client: text,
      upstream: text,
      route: fc.oneof(fc.constantFrom(...routeKinds), text),
      result: fc.oneof(fc.constantFrom(...results), text),
      source: fc.oneof(
        text,
        text.map((name) => `upstream:${name}`),
      ),
      status: fc.oneof(fc.integer(), fc.double()),
      bytesSent: fc.oneof(fc.double(), fc.constant(-5)),
      durationMs: fc.double(),
      ttfbMs: fc.option(fc.double(), { nil: undefined }),
    }),
    { numRuns: 3000, seed: 7 },
  ) as Partial<RequestEvent>[];
  const families = await after(events.map(sampleEvent));
  const values = (name: string) => families.get(name)?.samples.map(({ value }) => value) ?? [];
  const sum = (name: string) => values(name).reduce((a, b) => a + b, 0);
  t.equal(sum("entrepot_requests_total"), 3000);
  t.equal(sum("entrepot_http_requests_total"), 3000);
  t.equal(values("entrepot_requests_total").length, 6 * results.length, "no series was added");
  t.equal(
    values("entrepot_response_bytes_total").length,
    routeKinds.length * sourceLabels.length,
    "no series was added",
  );
  t.ok(values("entrepot_http_requests_total").every(Number.isFinite));
  const codes = new Set(
    families.get("entrepot_http_requests_total")?.samples.map(({ labels }) => labels.code),
  );
  const methods = new Set(
    families.get("entrepot_http_requests_total")?.samples.map(({ labels }) => labels.method),
  );
  t.ok(codes.size < 60, `${codes.size} codes`);
  t.strictSame([...methods].sort(), ["GET", "HEAD", "OTHER"]);
});

t.test("clients that leave are counted, and the pace of those who get large blobs", async (t) => {
  const large = { bytesSent: 10_000_000, durationMs: 2000 };
  const families = await after([
    sampleEvent({ ...large, abortedBy: "client", result: "aborted" }),
    sampleEvent({ ...large, abortedBy: "upstream", result: "error" }),
    sampleEvent({ ...large, result: "hit" }),
    sampleEvent({ ...large, result: "pass", status: 206 }),
    sampleEvent({ ...large, route: "manifest_digest" }),
    sampleEvent({ bytesSent: 1_048_575 }),
    sampleEvent({ ...large, durationMs: 0 }),
  ]);
  t.equal(sampleOf(families, "entrepot_http_client_aborts_total", { route: "blob" }), 1);
  t.equal(sampleOf(families, "entrepot_http_client_aborts_total", { route: "manifest_tag" }), 0);
  const name = "entrepot_blob_throughput_bytes_per_second";
  t.equal(sampleOf(families, `${name}_count`, { result: "hit" }), 1);
  t.equal(sampleOf(families, `${name}_sum`, { result: "hit" }), 5_000_000);
  t.equal(sampleOf(families, `${name}_count`, { result: "other" }), 1);
  t.equal(sampleOf(families, `${name}_count`, { result: "miss" }), 0);
});
