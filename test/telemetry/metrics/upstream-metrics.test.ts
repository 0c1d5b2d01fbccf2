import { Registry } from "prom-client";
import t from "tap";
import type { Notice } from "../../../src/ports/event.ts";
import { upstreamErrorCodes } from "../../../src/ports/upstream.ts";
import { createUpstreamMetrics } from "../../../src/telemetry/metrics/upstream-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

const upstreamReasons = [...upstreamErrorCodes, "other"];

async function after(notices: readonly Notice[]) {
  const registry = new Registry();
  const { onNotice: sink } = createUpstreamMetrics(registry, ["hub", "quay"], () => 1_767_323_045_678);
  for (const notice of notices) sink(notice);
  return parseExposition(await registry.metrics());
}

t.test("every error code of the port has its own series, from the start", async (t) => {
  const families = await after([]);
  for (const upstream of ["hub", "quay"]) {
    for (const reason of upstreamReasons)
      t.equal(sampleOf(families, "entrepot_upstream_errors_total", { upstream, reason }), 0);
    for (const type of ["manifest", "blob", "tags", "token"]) {
      t.equal(sampleOf(families, "entrepot_upstream_requests_total", { upstream, type, code: "200" }), 0);
      t.equal(sampleOf(families, "entrepot_upstream_received_bytes_total", { upstream, type }), 0);
      t.equal(sampleOf(families, "entrepot_upstream_ttfb_seconds_count", { upstream, type }), 0);
    }
  }
});

t.test("traffic is counted by upstream", async (t) => {
  const request = { kind: "upstream_request", upstream: "hub", type: "blob", method: "GET" } as const;
  const error = { kind: "upstream_error", upstream: "quay", status: undefined, message: "gone" } as const;
  const families = await after([
    { ...request, status: 206, ttfbMs: 1500 },
    { ...request, status: 206, ttfbMs: 500 },
    { kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 65536 },
    { kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 10 },
    { ...error, code: "timeout" },
  ]);
  const blob = { upstream: "hub", type: "blob" };
  t.equal(sampleOf(families, "entrepot_upstream_requests_total", { ...blob, code: "206" }), 2);
  t.equal(sampleOf(families, "entrepot_upstream_received_bytes_total", blob), 65546);
  t.equal(sampleOf(families, "entrepot_upstream_ttfb_seconds_sum", blob), 2);
  t.equal(sampleOf(families, "entrepot_upstream_ttfb_seconds_bucket", { ...blob, le: "0.5" }), 1);
  t.equal(sampleOf(families, "entrepot_upstream_errors_total", { upstream: "quay", reason: "timeout" }), 1);
});

t.test("each upstream is in one state, known from the start", async (t) => {
  const name = "entrepot_upstream_circuit_state";
  const stateOf = (families: Awaited<ReturnType<typeof after>>, upstream: string) =>
    ["closed", "open", "half_open"].filter((state) => sampleOf(families, name, { upstream, state }) === 1);
  const circuit = { kind: "circuit", upstream: "hub" } as const;
  const changes: Notice[] = [
    { ...circuit, previous: "closed", state: "open" },
    { ...circuit, previous: "open", state: "half_open" },
    { ...circuit, previous: "half_open", state: "closed" },
  ];
  for (const [count, state] of ["closed", "open", "half_open", "closed"].entries()) {
    const families = await after(changes.slice(0, count));
    t.same(stateOf(families, "hub"), [state]);
    t.same(stateOf(families, "quay"), ["closed"]);
    t.equal(families.get(name)?.samples.length, 6);
  }
});

t.test("what a limit leaves is shown once upstream says it", async (t) => {
  const name = "entrepot_upstream_rate_limit_remaining";
  t.equal((await after([])).get(name)?.samples.length, 0);
  const families = await after(
    [98, 0, 42].map((remaining) => ({ kind: "rate_limit", upstream: "hub", remaining })),
  );
  t.equal(families.get(name)?.samples.length, 1);
  t.equal(sampleOf(families, name, { upstream: "hub" }), 42);
});

t.test("how many transfers at once a blob comes in", async (t) => {
  const name = "entrepot_upstream_segments";
  t.equal(sampleOf(await after([]), name, { upstream: "hub" }), 1);
  const families = await after([8, 4].map((width) => ({ kind: "segments", upstream: "hub", width })));
  t.equal(sampleOf(families, name, { upstream: "hub" }), 4);
});

t.test("confirmations of tags that nobody waited for, from the start", async (t) => {
  const name = "entrepot_tag_refreshes_total";
  const families = await after([
    { kind: "tag_refresh", upstream: "hub", when: "ahead", result: "confirmed" },
    { kind: "tag_refresh", upstream: "hub", when: "ahead", result: "confirmed" },
    { kind: "tag_refresh", upstream: "hub", when: "stale", result: "moved" },
    { kind: "tag_refresh", upstream: "removed", when: "ahead", result: "failed" },
  ]);
  const counted = (upstream: string, when: string, result: string) =>
    sampleOf(families, name, { upstream, when, result });
  t.equal(counted("hub", "ahead", "confirmed"), 2);
  t.equal(counted("hub", "stale", "moved"), 1);
  t.equal(counted("quay", "ahead", "elsewhere"), 0);
  t.equal(counted("other", "ahead", "failed"), 1);
});

t.test("unknown upstreams, types, statuses and codes share one series", async (t) => {
  const notices = Array.from({ length: 500 }, (_, i): Notice[] => [
    { kind: "upstream_error", upstream: `up${i}`, code: `code${i}`, status: i, message: "" },
    {
      kind: "upstream_request",
      upstream: `up${i}`,
      type: `t${i}` as "blob",
      method: "GET",
      status: 600 + i,
      ttfbMs: -i,
    },
    { kind: "upstream_bytes", upstream: `up${i}`, type: `t${i}` as "blob", bytes: Number.NaN },
  ]).flat();
  const families = await after(notices);
  const other = { upstream: "other", type: "other" };
  t.equal(sampleOf(families, "entrepot_upstream_errors_total", { upstream: "other", reason: "other" }), 500);
  t.equal(sampleOf(families, "entrepot_upstream_requests_total", { ...other, code: "other" }), 500);
  t.equal(sampleOf(families, "entrepot_upstream_received_bytes_total", other), 0);
  t.equal(families.get("entrepot_upstream_errors_total")?.samples.length, 2 * upstreamReasons.length + 1);
});

t.test("the last success is a time, 0 while there was none", async (t) => {
  const name = "entrepot_upstream_last_success_timestamp_seconds";
  const request = { kind: "upstream_request", upstream: "hub", method: "GET", ttfbMs: 1 } as const;
  const failed = await after([
    { ...request, type: "manifest", status: 401 },
    { ...request, type: "manifest", status: 429 },
    { ...request, type: "blob", status: 503 },
    { ...request, type: "token", status: 200 },
  ]);
  t.equal(sampleOf(failed, name, { upstream: "hub" }), 0);
  for (const status of [200, 206, 307, 404]) {
    const families = await after([{ ...request, type: "blob", status }]);
    t.equal(sampleOf(families, name, { upstream: "hub" }), 1_767_323_045, String(status));
    t.equal(sampleOf(families, name, { upstream: "quay" }), 0);
  }
});

t.test("upstreams that are added and removed", async (t) => {
  const registry = new Registry();
  const { onNotice, use } = createUpstreamMetrics(registry, ["hub", "quay"]);
  const request = { kind: "upstream_request", type: "blob", method: "GET", status: 200, ttfbMs: 1 } as const;
  onNotice({ ...request, upstream: "quay" });
  onNotice({ kind: "circuit", upstream: "quay", state: "open", previous: "closed" });
  use(["hub", "new"]);
  onNotice({ ...request, upstream: "new" });
  onNotice({ kind: "circuit", upstream: "quay", state: "half_open", previous: "open" });
  const families = parseExposition(await registry.metrics());
  const of = (name: string, labels: Record<string, string>) =>
    sampleOf(families, `entrepot_upstream_${name}`, labels);
  const answers = { type: "blob", code: "200" };
  t.equal(of("requests_total", { upstream: "new", ...answers }), 1);
  t.equal(of("circuit_state", { upstream: "new", state: "closed" }), 1);
  t.equal(of("requests_total", { upstream: "quay", ...answers }), 1, "counters stay");
  for (const upstream of ["quay", "other"])
    for (const state of ["open", "half_open", "closed"])
      t.equal(of("circuit_state", { upstream, state }), undefined, "nothing would ever close it");
  t.equal(of("last_success_timestamp_seconds", { upstream: "quay" }), undefined);
});
