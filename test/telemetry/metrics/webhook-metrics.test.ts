import { Registry } from "prom-client";
import t from "tap";
import { createWebhookMetrics } from "../../../src/telemetry/metrics/webhook-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

t.test("webhooks are counted, from 0 on", async (t) => {
  const registry = new Registry();
  const sink = createWebhookMetrics(registry);
  const read = async () =>
    sampleOf(parseExposition(await registry.metrics()), "entrepot_webhooks_received_total", {
      source: "quay",
      result: "applied",
    });
  t.equal(await read(), 0);
  sink({ kind: "webhook", source: "quay", result: "applied" });
  sink({ kind: "notification", endpoint: "audit", result: "delivered", events: 3 });
  t.equal(await read(), 1);
});
