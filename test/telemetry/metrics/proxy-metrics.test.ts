import { Registry } from "prom-client";
import t from "tap";
import type { Notice, RequestEvent } from "../../../src/ports/event.ts";
import { createProxyMetrics } from "../../../src/telemetry/metrics/proxy-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

async function after(events: readonly RequestEvent[], notices: readonly Notice[] = []) {
  const registry = new Registry();
  const { onEvent, onNotice } = createProxyMetrics(registry);
  for (const event of events) onEvent(event);
  for (const notice of notices) onNotice(notice);
  const families = parseExposition(await registry.metrics());
  return (name: string, type: "blob" | "manifest") =>
    sampleOf(families, `registry_proxy_${name}_total`, { type });
}

t.test("all ten series are there from the start", async (t) => {
  const value = await after([]);
  for (const name of ["requests", "hits", "misses", "pulled_bytes", "pushed_bytes"])
    for (const type of ["blob", "manifest"] as const) t.equal(value(name, type), 0);
});

t.test("hits and misses are all requests, and what failed is a miss", async (t) => {
  const value = await after([
    sampleEvent({ result: "hit" }),
    sampleEvent({ result: "miss", source: "upstream:hub" }),
    sampleEvent({ result: "joined", source: "upstream:hub" }),
    sampleEvent({ result: "error", source: "none", status: 502, bytesSent: 50 }),
    sampleEvent({ result: "denied", source: "none", status: 403, bytesSent: 0 }),
    sampleEvent({ result: "aborted", source: "disk", bytesSent: 10 }),
    sampleEvent({ result: "aborted", source: "upstream:hub", bytesSent: 10 }),
    sampleEvent({ result: "stale", route: "manifest_tag", source: "memory", bytesSent: 0, method: "HEAD" }),
    sampleEvent({
      result: "revalidated",
      route: "manifest_tag",
      source: "memory",
      bytesSent: 0,
      method: "HEAD",
    }),
    sampleEvent({ result: "hit", route: "manifest_digest", source: "memory", bytesSent: 500 }),
  ]);
  t.equal(value("requests", "blob"), 7);
  t.equal(value("hits", "blob"), 2);
  t.equal(value("misses", "blob"), 5);
  t.equal(value("requests", "manifest"), 3);
  t.equal(value("hits", "manifest"), 2);
  t.equal(value("misses", "manifest"), 1, "a tag upstream had to confirm");
  t.equal(value("pushed_bytes", "blob"), 3070);
  t.equal(value("pushed_bytes", "manifest"), 500);
});

t.test("only reads of blobs and manifests count, and of upstream's bytes only theirs", async (t) => {
  const bytes = { kind: "upstream_bytes", upstream: "hub", bytes: 100 } as const;
  const value = await after(
    [sampleEvent({ route: "tags" }), sampleEvent({ route: "upload" }), sampleEvent({ method: "DELETE" })],
    [
      { ...bytes, type: "blob" },
      { ...bytes, type: "manifest" },
      { ...bytes, type: "token" },
      { ...bytes, type: "tags" },
    ],
  );
  t.equal(value("requests", "blob"), 0);
  t.equal(value("pulled_bytes", "blob"), 100);
  t.equal(value("pulled_bytes", "manifest"), 100);
});
