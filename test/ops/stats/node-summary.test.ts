import t from "tap";
import { nodeSchema } from "../../../src/ops/api/datacenter-schema.ts";
import { nodeSummary } from "../../../src/ops/stats/node-summary.ts";
import { fullDocument, sampleDocument } from "../../fixtures/stats-samples.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

t.test("what a node says of itself, in a few KB whatever there is", (t) => {
  const document = fullDocument("long ".repeat(200));
  const upstream = document.upstreams[0] as (typeof document.upstreams)[0];
  const many = {
    ...document,
    verdict: { level: "degraded" as const, reasons: Array(100).fill("x".repeat(1000)) },
    upstreams: Array(1000).fill(upstream),
  };
  const summary = nodeSummary(many, "http://10.0.0.7:5000");
  t.equal(nodeSchema.safeParse(summary).success, true);
  t.ok(JSON.stringify(summary).length < 4096, `${JSON.stringify(summary).length} bytes`);
  t.match(summary, { name: "node-1", address: "http://10.0.0.7:5000", version: "1.2.3", state: "up" });
  t.end();
});

t.test("its counters are what happened since its start, and of the last hour", (t) => {
  const document = sampleDocument((activity) => {
    activity.onEvent(sampleEvent({ route: "blob", result: "hit", bytesSent: 100 }));
    activity.onEvent(sampleEvent({ route: "blob", result: "miss", bytesSent: 30, durationMs: 5_000 }));
    activity.onEvent(sampleEvent({ route: "tags", result: "pass", bytesSent: 3 }));
    activity.onEvent(sampleEvent({ route: "ping", result: "hit", bytesSent: 7 }));
    activity.onNotice({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 30 });
  });
  const sums = {
    requests: 3,
    failed: 0,
    results: { hit: 1, miss: 1, pass: 1, stale: 0 },
    reads: 2,
    hits: 1,
    hitRatio: 0.5,
    sentBytes: 133,
    fetchedBytes: 30,
  };
  t.match(nodeSummary(document, undefined), { address: null, sinceStart: sums, lastHour: sums });
  t.end();
});

t.test("not ready, draining", (t) => {
  const state = (changes: object) =>
    nodeSummary({ ...sampleDocument(), node: { ...sampleDocument().node, ...changes } }, undefined).state;
  t.equal(state({ ready: false }), "not_ready");
  t.equal(state({ ready: false, draining: true }), "draining");
  t.end();
});
