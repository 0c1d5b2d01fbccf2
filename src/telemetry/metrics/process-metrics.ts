// How the process and the runtime do, under the names their dashboards know (`process_*`, `nodejs_*`): those of
// prom-client's default metrics that are worth it, one by one. Left out are gauges that call themselves `_total` against
// the naming rules, the doubles of nodejs_active_resources, and nodejs_gc_duration_seconds: watching V8's collections
// makes more lasting garbage, hundreds of times a second, than all requests do together (two thirds of what V8 had to
// mark at 7,000 manifests a second), and counts only one of those that happen in a turn.
import type { Registry } from "prom-client";
import eventLoopLag from "prom-client/lib/metrics/eventLoopLag.js";
import heapSizeAndUsed from "prom-client/lib/metrics/heapSizeAndUsed.js";
import heapSpacesSizeAndUsed from "prom-client/lib/metrics/heapSpacesSizeAndUsed.js";
import osMemoryHeap from "prom-client/lib/metrics/osMemoryHeap.js";
import processCpuTotal from "prom-client/lib/metrics/processCpuTotal.js";
import processMaxFileDescriptors from "prom-client/lib/metrics/processMaxFileDescriptors.js";
import processOpenFileDescriptors from "prom-client/lib/metrics/processOpenFileDescriptors.js";
import processResources from "prom-client/lib/metrics/processResources.js";
import processStartTime from "prom-client/lib/metrics/processStartTime.js";
import nodeVersion from "prom-client/lib/metrics/version.js";

const all = [
  eventLoopLag,
  heapSizeAndUsed,
  heapSpacesSizeAndUsed,
  nodeVersion,
  osMemoryHeap,
  processCpuTotal,
  processMaxFileDescriptors,
  processOpenFileDescriptors,
  processResources,
  processStartTime,
];

/** A minimum that is 2^63 when two scrapes follow each other at once, and a `_total` that goes down. */
const unwanted = ["nodejs_eventloop_lag_min_seconds", "nodejs_active_resources_total"];

/** Milliseconds between two looks at the event loop's lateness. */
const eventLoopMonitoringPrecision = 10;

export function registerProcessMetrics(registry: Registry): void {
  for (const register of all) register(registry, { eventLoopMonitoringPrecision });
  for (const name of unwanted) registry.removeSingleMetric(name);
}
