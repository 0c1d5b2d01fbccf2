import { Registry } from "prom-client";
import t from "tap";
import { siblingResults } from "../../../src/ports/event.ts";
import { createSiblingMetrics } from "../../../src/telemetry/metrics/sibling-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

t.test("what came of questions to siblings, and the bytes they sent, from the first one on", async (t) => {
  const registry = new Registry();
  const sink = createSiblingMetrics(registry, ["dc2", "dc3"]);
  const read = async (name: string, labels: Record<string, string>) =>
    sampleOf(parseExposition(await registry.metrics()), name, labels);
  const requests = (sibling: string, result: string) =>
    read("entrepot_sibling_requests_total", { sibling, result });
  for (const result of siblingResults) t.equal(await requests("dc2", result), 0, result);
  sink({ kind: "sibling", sibling: "dc2", result: "hit" });
  sink({ kind: "sibling", sibling: "dc2", result: "wrong", message: "no such digest" });
  sink({ kind: "sibling", sibling: "dc9", result: "miss" });
  sink({ kind: "sibling_bytes", sibling: "dc3", bytes: 1_000 });
  sink({ kind: "upstream_bytes", upstream: "dc3", type: "blob", bytes: 1 });
  t.equal(await requests("dc2", "hit"), 1);
  t.equal(await requests("dc2", "wrong"), 1);
  t.equal(await requests("other", "miss"), 1, "a name that nobody has configured");
  t.equal(await read("entrepot_sibling_received_bytes_total", { sibling: "dc3" }), 1_000);
  t.equal(await read("entrepot_sibling_received_bytes_total", { sibling: "dc2" }), 0);
});
