// The Prometheus side of telemetry: one registry of our own, fed by events and notices, rendered on a scrape.
import { Counter, Gauge, type MetricObjectWithValues, type MetricValue, Registry } from "prom-client";
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
import type { EventSink, NoticeSink } from "../../ports/event.ts";
import { createBlockMetrics } from "./block-metrics.ts";
import { createCacheMetrics } from "./cache-metrics.ts";
import { type GaugeSources, registerGauges } from "./gauges.ts";
import { createJobMetrics } from "./job-metrics.ts";
import { amount, closedList } from "./label.ts";
import { createLimitMetrics } from "./limit-metrics.ts";
import { createLoginMetrics } from "./login-metrics.ts";
import { createNotificationMetrics, type NotificationMetricsOptions } from "./notification-metrics.ts";
import { createProxyMetrics } from "./proxy-metrics.ts";
import { createProbeMetrics, createRequestMetrics } from "./request-metrics.ts";
import { registerSavings, type SavingsSource } from "./savings-metrics.ts";
import { createSiblingMetrics } from "./sibling-metrics.ts";
import { createUpstreamMetrics } from "./upstream-metrics.ts";
import { createWebhookMetrics } from "./webhook-metrics.ts";

export interface Metrics {
  readonly onEvent: EventSink;
  readonly onProbe: EventSink;
  readonly onNotice: NoticeSink;
  /** From now on these upstreams are configured. */
  useUpstreams(names: readonly string[]): void;
  /** Counts what the sink of this name could not take. */
  readonly lost: (sink: string, count: number) => void;
  /** The text exposition format, version 0.0.4. */
  render(): Promise<string>;
  /** What `render` shows, as it is now. */
  families(): Promise<readonly MetricFamily[]>;
  readonly contentType: string;
}

/** A metric with its series, as prom-client has them. */
export type MetricFamily = MetricObjectWithValues<MetricValue<string>>;

export interface MetricsOptions {
  readonly gauges: GaugeSources;
  /** Names of the upstreams configured at the start: the closed list of the `upstream` label. */
  readonly upstreams: readonly string[];
  /** Names of the mirrors of other datacenters; left out: there are none. */
  readonly siblings?: readonly string[] | undefined;
  /** The program's version, for `entrepot_build_info`. */
  readonly version: string;
  /** Left out: there are no endpoints. */
  readonly notifications?: NotificationMetricsOptions | undefined;
  /** Left out: nothing is counted for teams. */
  readonly savings?: SavingsSource | undefined;
}

/**
 * Creates every metric of the program, with the known series at 0. Our names start with `entrepot_`; those of the
 * process and the runtime, and those that Distribution's dashboards ask for, keep the names these know (`process_*`,
 * `nodejs_*`, `registry_proxy_*`).
 */
export function createMetrics({
  gauges,
  upstreams,
  siblings = [],
  version,
  notifications = { endpoints: [], pending: () => 0 },
  savings,
}: MetricsOptions): Metrics {
  const registry = new Registry();
  registerBuildInfo(registry, version);
  registerGauges(registry, gauges);
  const requestSink = createRequestMetrics(registry);
  const proxy = createProxyMetrics(registry);
  const upstreamMetrics = createUpstreamMetrics(registry, upstreams);
  const siblingSink = createSiblingMetrics(registry, siblings);
  const cacheSink = createCacheMetrics(registry);
  const notificationSink = createNotificationMetrics(registry, notifications);
  const limitSink = createLimitMetrics(registry);
  const loginSink = createLoginMetrics(registry);
  const blockSink = createBlockMetrics(registry);
  const webhookSink = createWebhookMetrics(registry);
  const jobSink = createJobMetrics(registry);
  if (savings !== undefined) registerSavings(registry, savings);
  const lost = createLossMetric(registry);
  const onProbe = createProbeMetrics(registry);
  registerProcessMetrics(registry);
  return {
    onEvent(event) {
      requestSink(event);
      proxy.onEvent(event);
    },
    onProbe,
    onNotice(notice) {
      proxy.onNotice(notice);
      upstreamMetrics.onNotice(notice);
      siblingSink(notice);
      cacheSink(notice);
      notificationSink(notice);
      limitSink(notice);
      loginSink(notice);
      blockSink(notice);
      webhookSink(notice);
      jobSink(notice);
    },
    useUpstreams: (names) => upstreamMetrics.use(names),
    lost,
    render: async () => withoutNaN(await registry.metrics()),
    families: () => registry.getMetricsAsJSON(),
    contentType: registry.contentType,
  };
}

function registerBuildInfo(registry: Registry, version: string): void {
  new Gauge({
    name: "entrepot_build_info",
    help: "Always 1; the label tells the version.",
    labelNames: ["version"],
    registers: [registry],
  }).set({ version }, 1);
}

const sinkNames = [
  "metrics",
  "log",
  "influx",
  "otel",
  "health",
  "notifications",
  "stats",
  "savings",
  "other",
] as const;
const sinkLabel = closedList(sinkNames, "other");

/** Counts what telemetry itself has lost: lines a log or file could not take, and what a sink failed at. */
function createLossMetric(registry: Registry): (sink: string, count: number) => void {
  const lost = new Counter({
    name: "entrepot_telemetry_lost_total",
    help: "Lines of logs and files, and events, that a sink could not take.",
    labelNames: ["sink"],
    registers: [registry],
  });
  for (const sink of sinkNames) lost.inc({ sink }, 0);
  return (sink, count) => lost.inc({ sink: sinkLabel(sink) }, amount(count));
}

const processMetrics = [
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
/** Milliseconds between two samples of the event loop's lateness. */
const eventLoopMonitoringPrecision = 10;

/**
 * The process and the runtime, under the names their dashboards know (`process_*`, `nodejs_*`): those of prom-client's
 * default metrics that are worth it, one by one. Left out are gauges that call themselves `_total` against the naming
 * rules, the doubles of nodejs_active_resources, and nodejs_gc_duration_seconds: watching V8's collections makes more
 * lasting garbage than all requests do together, and counts only one of the collections in a turn.
 */
export function registerProcessMetrics(registry: Registry): void {
  for (const register of processMetrics) register(registry, { eventLoopMonitoringPrecision });
  for (const name of unwanted) registry.removeSingleMetric(name);
}

/** The mean of no event-loop samples is NaN, which spoils every sum over nodes; no sample is the better answer. */
function withoutNaN(text: string): string {
  return text.replaceAll(/^[^#\n].* nan\n/gim, "");
}
