// The metric of the webhooks received, from the notices about them.
import { Counter, type Registry } from "prom-client";
import { type NoticeSink, webhookResults, webhookSources } from "../../ports/event.ts";

/** Registers it, with the known series at 0, and returns its sink. */
export function createWebhookMetrics(registry: Registry): NoticeSink {
  const received = new Counter({
    name: "entrepot_webhooks_received_total",
    help: "Webhooks by what was made of them.",
    labelNames: ["source", "result"],
    registers: [registry],
  });
  for (const source of webhookSources)
    for (const result of webhookResults) received.inc({ source, result }, 0);
  return (notice) => {
    if (notice.kind === "webhook") received.inc({ source: notice.source, result: notice.result });
  };
}
