import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Registry } from "prom-client";
import t from "tap";
import { storeErrorCodes } from "../../../src/ports/blobs.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { createCacheMetrics, storeOps } from "../../../src/telemetry/metrics/cache-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";
import { sampleDigest } from "../../fixtures/telemetry-samples.ts";

const storeCodes = [...storeErrorCodes, "other"];

async function after(notices: readonly Notice[]) {
  const registry = new Registry();
  const sink = createCacheMetrics(registry);
  for (const notice of notices) sink(notice);
  return parseExposition(await registry.metrics());
}

const eviction = { kind: "eviction", digest: sampleDigest } as const;
const fill = { kind: "fill", upstream: "hub", digest: sampleDigest, durationMs: 5 } as const;

t.test("every result, reason and code has its own series, from the start", async (t) => {
  const families = await after([]);
  for (const result of ["committed", "discarded", "not_stored"])
    t.equal(sampleOf(families, "entrepot_fills_total", { result }), 0);
  for (const reason of ["lru", "low_disk", "corrupt"])
    t.equal(sampleOf(families, "entrepot_cache_evictions_total", { store: "disk", reason }), 0);
  for (const op of storeOps)
    for (const code of storeCodes)
      t.equal(sampleOf(families, "entrepot_store_errors_total", { op, code }), 0);
  t.equal(sampleOf(families, "entrepot_cache_eviction_age_seconds_count", { store: "disk" }), 0);
  t.equal(sampleOf(families, "entrepot_stale_served_total"), 0);
});

t.test("what happens in the cache is counted", async (t) => {
  const families = await after([
    { ...fill, result: "committed", bytes: 100 },
    { ...fill, result: "discarded", bytes: 20, unattendedBytes: 5 },
    { kind: "shared_eviction", store: "s3", deleted: 3, freed: 7, bytes: 90 },
    { ...eviction, reason: "lru", bytes: 100, ageMs: 7_200_000, orphaned: 2 },
    { ...eviction, reason: "low_disk", bytes: 50, ageMs: 30_000, orphaned: 0 },
    { kind: "stale_served", upstream: "hub", repository: "a", tag: "b", ageMs: 1, reason: "timeout" },
    { kind: "store_error", op: "tags.get", code: "unavailable", message: "" },
  ]);
  t.equal(sampleOf(families, "entrepot_fills_total", { result: "committed" }), 1);
  t.equal(sampleOf(families, "entrepot_fills_total", { result: "discarded" }), 1);
  t.equal(sampleOf(families, "entrepot_fill_bytes_total"), 120);
  t.equal(sampleOf(families, "entrepot_cache_evictions_total", { store: "disk", reason: "lru" }), 1);
  t.equal(sampleOf(families, "entrepot_background_fill_bytes_total", { result: "committed" }), 0);
  t.equal(sampleOf(families, "entrepot_background_fill_bytes_total", { result: "discarded" }), 5);
  t.equal(sampleOf(families, "entrepot_cache_evictions_total", { store: "s3", reason: "lru" }), 3);
  t.equal(sampleOf(families, "entrepot_cache_evicted_bytes_total", { store: "s3" }), 7);
  t.equal(sampleOf(families, "entrepot_cache_evicted_bytes_total", { store: "disk" }), 150);
  t.equal(sampleOf(families, "entrepot_cache_eviction_age_seconds_bucket", { store: "disk", le: "60" }), 1);
  t.equal(sampleOf(families, "entrepot_cache_eviction_age_seconds_sum", { store: "disk" }), 7230);
  t.equal(sampleOf(families, "entrepot_evicted_orphaned_images_total"), 2);
  t.equal(sampleOf(families, "entrepot_stale_served_total"), 1);
  t.equal(sampleOf(families, "entrepot_store_errors_total", { op: "tags", code: "unavailable" }), 1);
});

t.test("layers that were fetched ahead count by what became of them", async (t) => {
  const told = { kind: "prefetch", upstream: "hub", digest: "sha256:1" } as const;
  const families = await after([
    { ...told, result: "used", bytes: 7 },
    { ...told, result: "used", bytes: 8 },
    { ...told, result: "unused", bytes: 5 },
  ]);
  const of = (name: string, result: string) =>
    sampleOf(families, `entrepot_prefetched_${name}_total`, { result });
  t.same([of("layers", "used"), of("bytes", "used")], [2, 15]);
  t.same([of("layers", "unused"), of("bytes", "unused")], [1, 5]);
});

t.test("what is shared has a series once it is told of", async (t) => {
  const told = { kind: "shared_store", store: "redis", message: "" } as const;
  const up = async (...notices: Notice[]) =>
    sampleOf(await after(notices), "entrepot_shared_store_up", { store: "redis" });
  t.equal(await up(), undefined);
  t.equal(await up({ ...told, usable: true }), 1);
  t.equal(await up({ ...told, usable: true }, { ...told, usable: false }), 0);
});

t.test("unknown words share one series, and bad numbers count as nothing", async (t) => {
  const families = await after([
    { kind: "store_error", op: "x".repeat(1000), code: "EWHATEVER", message: "" },
    { kind: "store_error", op: "", code: "", message: "" },
    { ...fill, result: "eaten" as "committed", bytes: -1 },
    { ...eviction, reason: "whim" as "lru", bytes: Number.NaN, ageMs: -5, orphaned: Number.NaN },
  ]);
  t.equal(sampleOf(families, "entrepot_store_errors_total", { op: "other", code: "other" }), 2);
  t.equal(sampleOf(families, "entrepot_fills_total", { result: "other" }), 1);
  t.equal(sampleOf(families, "entrepot_fill_bytes_total"), 0);
  t.equal(sampleOf(families, "entrepot_cache_evictions_total", { store: "disk", reason: "other" }), 1);
  t.equal(sampleOf(families, "entrepot_cache_eviction_age_seconds_sum", { store: "disk" }), 0);
});

t.test("every operation the sources report has a label of its own", (t) => {
  const src = join(import.meta.dirname, "../../../src");
  const reported = globSync("**/*.ts", { cwd: src }).flatMap((path) =>
    [
      ...readFileSync(join(src, path), "utf8").matchAll(
        /(?:noticeOfStoreError|malformedNotice|#?orNotice|askShared|#storeFailed)\("([^".]+)/g,
      ),
    ].map(([, op]) => op as (typeof storeOps)[number]),
  );
  t.ok(reported.includes("open"), "the search finds call sites");
  t.strictSame(
    reported.filter((op) => !storeOps.includes(op)),
    [],
  );
  t.end();
});
