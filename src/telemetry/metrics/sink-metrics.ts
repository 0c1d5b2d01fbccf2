// What telemetry itself has lost: lines a log or file could not take, and what a sink failed at.
import { Counter, type Registry } from "prom-client";
import { amount, closedList } from "./label.ts";

const sinkNames = ["metrics", "log", "influx", "health", "notifications", "stats", "other"] as const;
const sinkLabel = closedList(sinkNames, "other");

/** Registers the counter and returns how it is raised; a sink that is not known counts as `other`. */
export function createSinkMetrics(registry: Registry): (sink: string, count: number) => void {
  const lost = new Counter({
    name: "entrepot_telemetry_lost_total",
    help: "Lines of logs and files, and events, that a sink could not take.",
    labelNames: ["sink"],
    registers: [registry],
  });
  for (const sink of sinkNames) lost.inc({ sink }, 0);
  return (sink, count) => lost.inc({ sink: sinkLabel(sink) }, amount(count));
}
