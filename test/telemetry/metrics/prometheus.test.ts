import { spawnSync } from "node:child_process";
import { register } from "prom-client";
import t from "tap";
import { createMetrics } from "../../../src/telemetry/metrics/prometheus.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";
import { sampleDigest, sampleEvent, sampleGauges } from "../../fixtures/telemetry-samples.ts";

function create(gauges = sampleGauges()) {
  return createMetrics({ gauges, upstreams: ["hub", "quay"], version: "1.2.3" });
}

const promised = [
  "entrepot_background_fill_bytes_total",
  "entrepot_blob_throughput_bytes_per_second",
  "entrepot_build_info",
  "entrepot_cache_bytes",
  "entrepot_cache_disk_free_bytes",
  "entrepot_cache_disk_free_inodes",
  "entrepot_cache_evicted_bytes_total",
  "entrepot_cache_eviction_age_seconds",
  "entrepot_cache_evictions_total",
  "entrepot_cache_limit_bytes",
  "entrepot_cache_objects",
  "entrepot_draining",
  "entrepot_evicted_orphaned_images_total",
  "entrepot_fill_bytes_total",
  "entrepot_fills_running",
  "entrepot_fills_total",
  "entrepot_followers",
  "entrepot_http_client_aborts_total",
  "entrepot_http_in_flight_requests",
  "entrepot_http_request_duration_seconds",
  "entrepot_http_request_ttfb_seconds",
  "entrepot_http_requests_total",
  "entrepot_images_pulled",
  "entrepot_images_ready",
  "entrepot_prefetched_bytes_total",
  "entrepot_prefetched_layers_total",
  "entrepot_pin_budget_bytes",
  "entrepot_pinned_bytes",
  "entrepot_pinned_images",
  "entrepot_pinned_images_whole",
  "entrepot_ready",
  "entrepot_requests_total",
  "entrepot_response_bytes_total",
  "entrepot_spool_bytes",
  "entrepot_stale_served_total",
  "entrepot_store_errors_total",
  "entrepot_tag_refreshes_total",
  "entrepot_telemetry_lost_total",
  "entrepot_uploads_pending",
  "entrepot_upstream_circuit_state",
  "entrepot_upstream_errors_total",
  "entrepot_upstream_last_success_timestamp_seconds",
  "entrepot_upstream_received_bytes_total",
  "entrepot_upstream_requests_total",
  "entrepot_upstream_ttfb_seconds",
  "entrepot_uploads_pending",
  "nodejs_eventloop_lag_p99_seconds",
  "process_cpu_seconds_total",
  "process_resident_memory_bytes",
  "registry_proxy_hits_total",
  "registry_proxy_misses_total",
  "registry_proxy_pulled_bytes_total",
  "registry_proxy_pushed_bytes_total",
  "registry_proxy_requests_total",
];

t.test("the exposition is clean from the first scrape on", async (t) => {
  const metrics = create();
  t.equal(metrics.contentType, "text/plain; version=0.0.4; charset=utf-8");
  const families = parseExposition(await metrics.render());
  t.strictSame(
    promised.filter((name) => (families.get(name)?.samples.length ?? 0) === 0 && !name.startsWith("nodejs_")),
    [],
    "every family has a sample before anything happened",
  );
  for (const [name, { help, type, samples }] of families) {
    t.match(name, /^(?:entrepot|process|nodejs|registry_proxy)_[a-z0-9_]+$/);
    t.match(help, /.{8,}/, `${name} explains itself`);
    t.equal(
      type === "counter",
      name.endsWith("_total"),
      `${name}: counters, and nothing else, end in _total`,
    );
    const series = samples.map((sample) => JSON.stringify([sample.name, sample.labels]));
    t.equal(new Set(series).size, series.length, `${name} has no series twice`);
    if (name.startsWith("entrepot_") && type !== "gauge")
      t.ok(
        samples.every(({ value }) => value === 0),
        `${name} starts at 0`,
      );
  }
});

t.test("no scrape has a NaN, not even one right after another", async (t) => {
  const metrics = create();
  for (const text of [await metrics.render(), await metrics.render(), await metrics.render()]) {
    t.notMatch(text, / nan/i);
    parseExposition(text);
  }
});

t.test("histograms add up", async (t) => {
  const metrics = create();
  for (const durationMs of [1, 30, 4_000, 6_000, 9e9]) metrics.onEvent(sampleEvent({ durationMs }));
  const families = parseExposition(await metrics.render());
  const name = "entrepot_http_request_duration_seconds";
  const labels = { route: "blob", result: "hit" };
  const counts = families
    .get(name)
    ?.samples.filter(
      (sample) => sample.labels.route === "blob" && sample.labels.result === "hit" && sample.labels.le,
    );
  t.strictSame(
    counts?.map(({ value }) => value),
    counts?.map(({ value }) => value).sort((a, b) => a - b),
    "buckets are cumulative",
  );
  t.equal(sampleOf(families, `${name}_bucket`, { ...labels, le: "5" }), 3, "5 s is the line of slow layers");
  t.equal(sampleOf(families, `${name}_bucket`, { ...labels, le: "+Inf" }), 5);
  t.equal(sampleOf(families, `${name}_count`, labels), 5);
});

t.test("gauges read their sources at the scrape", async (t) => {
  let bytes = 10;
  const metrics = create(sampleGauges({ cacheBytes: () => bytes }));
  t.equal(sampleOf(parseExposition(await metrics.render()), "entrepot_cache_bytes", { store: "disk" }), 10);
  bytes = 20;
  const families = parseExposition(await metrics.render());
  t.equal(sampleOf(families, "entrepot_cache_bytes", { store: "disk" }), 20);
  t.equal(sampleOf(families, "entrepot_fills_running"), 1);
  t.equal(sampleOf(families, "entrepot_followers"), 2);
  t.equal(sampleOf(families, "entrepot_cache_limit_bytes", { store: "disk" }), 4);
  t.equal(sampleOf(families, "entrepot_cache_objects", { store: "disk" }), 5);
  t.equal(sampleOf(families, "entrepot_cache_disk_free_bytes"), 6);
  t.equal(sampleOf(families, "entrepot_http_in_flight_requests"), 7);
  t.equal(sampleOf(families, "entrepot_uploads_pending"), 8);
  t.equal(sampleOf(families, "entrepot_ready"), 1);
  t.equal(sampleOf(families, "entrepot_draining"), 0);
  t.equal(sampleOf(families, "entrepot_build_info", { version: "1.2.3" }), 1);
});

t.test("a source that is unknown, broken or not a number costs only its own sample", async (t) => {
  let known = false;
  const metrics = create(
    sampleGauges({
      cacheDiskFreeBytes: () => (known ? 6 : undefined),
      cacheDiskFreeInodes: () => (known ? 7 : undefined),
      cacheObjects() {
        throw new Error("the index is closed");
      },
      followers: () => Number.NaN,
    }),
  );
  const families = parseExposition(await metrics.render());
  t.equal(sampleOf(families, "entrepot_cache_disk_free_bytes"), undefined);
  t.equal(sampleOf(families, "entrepot_cache_objects", { store: "disk" }), undefined);
  t.equal(sampleOf(families, "entrepot_followers"), undefined);
  t.equal(sampleOf(families, "entrepot_cache_bytes", { store: "disk" }), 3);
  known = true;
  t.equal(sampleOf(parseExposition(await metrics.render()), "entrepot_cache_disk_free_bytes"), 6);
});

t.test("two sets of metrics live side by side, and none in the global registry", async (t) => {
  const [one, two] = [create(), create()];
  one.onEvent(sampleEvent());
  const labels = { type: "blob", result: "hit" };
  t.equal(sampleOf(parseExposition(await one.render()), "entrepot_requests_total", labels), 1);
  t.equal(sampleOf(parseExposition(await two.render()), "entrepot_requests_total", labels), 0);
  t.strictSame(register.getMetricsAsArray(), []);
});

t.test("notices reach both their sinks", async (t) => {
  const metrics = create();
  metrics.onNotice({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 7 });
  metrics.onNotice({ kind: "store_error", op: "commit", code: "no_space", message: "full" });
  metrics.onNotice({
    kind: "fill",
    result: "committed",
    upstream: "hub",
    digest: sampleDigest,
    bytes: 7,
    durationMs: 1,
  });
  const families = parseExposition(await metrics.render());
  t.equal(sampleOf(families, "entrepot_upstream_received_bytes_total", { upstream: "hub", type: "blob" }), 7);
  t.equal(sampleOf(families, "entrepot_store_errors_total", { op: "commit", code: "no_space" }), 1);
  t.equal(sampleOf(families, "entrepot_fill_bytes_total"), 7);
});

const promtool = spawnSync("promtool", ["--version"]).error === undefined;
t.test("promtool agrees", { skip: promtool ? false : "promtool is not installed" }, async (t) => {
  const metrics = create();
  metrics.onEvent(sampleEvent());
  const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], {
    input: await metrics.render(),
    encoding: "utf8",
  });
  t.equal(status, 0, stdout + stderr);
});
