import { Registry } from "prom-client";
import t from "tap";
import { createNotificationMetrics } from "../../../src/telemetry/metrics/notification-metrics.ts";
import { parseExposition, sampleOf } from "../../fixtures/exposition.ts";

t.test("notifications are counted, from 0 on", async (t) => {
  const registry = new Registry();
  let pending: number | undefined = 7;
  const sink = createNotificationMetrics(registry, { endpoints: ["audit"], pending: () => pending });
  const read = async (name: string, labels: Record<string, string>) =>
    sampleOf(parseExposition(await registry.metrics()), name, labels);
  const delivered = { endpoint: "audit", result: "delivered" };
  t.equal(await read("entrepot_events_total", delivered), 0);
  sink({ kind: "notification", endpoint: "audit", result: "delivered", events: 3 });
  sink({ kind: "notification", endpoint: "nobody", result: "delivered", events: 2 });
  sink({ kind: "webhook", source: "quay", result: "applied" });
  t.equal(await read("entrepot_events_total", delivered), 3);
  t.equal(await read("entrepot_events_total", { ...delivered, endpoint: "other" }), 2, "labels are bounded");
  t.equal(await read("entrepot_events_pending", { endpoint: "audit" }), 7);
  pending = undefined;
  t.equal(await read("entrepot_events_pending", { endpoint: "audit" }), 0);
});
