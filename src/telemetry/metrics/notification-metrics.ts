// Metrics of the notifications sent, from the notices about them.
import { Counter, Gauge, type Registry } from "prom-client";
import { type NoticeSink, notificationResults } from "../../ports/event.ts";
import { amount, closedList } from "./label.ts";

export interface NotificationMetricsOptions {
  /** Names of the configured endpoints: the closed list of the `endpoint` label. */
  readonly endpoints: readonly string[];
  /** Notifications that wait for an endpoint. */
  readonly pending: (endpoint: string) => number | undefined;
}

/** Registers them, with the known series at 0, and returns their sink. */
export function createNotificationMetrics(
  registry: Registry,
  { endpoints, pending }: NotificationMetricsOptions,
): NoticeSink {
  const registers = [registry];
  const events = new Counter({
    name: "entrepot_events_total",
    help: "Notifications by what became of them; failed counts each that stays queued, once for every attempt.",
    labelNames: ["endpoint", "result"],
    registers,
  });
  for (const endpoint of endpoints)
    for (const result of notificationResults) events.inc({ endpoint, result }, 0);
  new Gauge({
    name: "entrepot_events_pending",
    help: "Notifications that wait for an endpoint.",
    labelNames: ["endpoint"],
    registers,
    collect() {
      for (const endpoint of endpoints) this.set({ endpoint }, pending(endpoint) ?? 0);
    },
  });
  const endpointLabel = closedList(endpoints, "other");
  return (notice) => {
    if (notice.kind === "notification")
      events.inc({ endpoint: endpointLabel(notice.endpoint), result: notice.result }, amount(notice.events));
  };
}
