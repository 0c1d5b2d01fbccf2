// The Prometheus side of telemetry: one registry of our own, fed by events and notices, rendered on a scrape.
import { Gauge, Registry } from "prom-client";
import type { EventSink, NoticeSink } from "../../ports/event.ts";
import { createCacheMetrics } from "./cache-metrics.ts";
import { type GaugeSources, registerGauges } from "./gauges.ts";
import { createHookMetrics, type HookMetricsOptions } from "./hook-metrics.ts";
import { registerProcessMetrics } from "./process-metrics.ts";
import { createProxyMetrics } from "./proxy-metrics.ts";
import { createProbeMetrics, createRequestMetrics } from "./request-metrics.ts";
import { createSinkMetrics } from "./sink-metrics.ts";
import { createUpstreamMetrics } from "./upstream-metrics.ts";

export interface Metrics {
  readonly onEvent: EventSink;
  readonly onProbe: EventSink;
  readonly onNotice: NoticeSink;
  /** Counts what the sink of this name could not take. */
  readonly lost: (sink: string, count: number) => void;
  /** The text exposition format, version 0.0.4. */
  render(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsOptions {
  readonly gauges: GaugeSources;
  /** Names of the configured upstreams: the closed list of the `upstream` label. */
  readonly upstreams: readonly string[];
  /** The program's version, for `entrepot_build_info`. */
  readonly version: string;
  /** Left out: nobody is notified. */
  readonly notifications?: HookMetricsOptions | undefined;
}

/**
 * Creates every metric of the program, with the known series at 0. Our names start with `entrepot_`; those of the
 * process and the runtime, and those that Distribution's dashboards ask for, keep the names these know (`process_*`,
 * `nodejs_*`, `registry_proxy_*`).
 */
export function createMetrics({
  gauges,
  upstreams,
  version,
  notifications = { endpoints: [], pending: () => 0 },
}: MetricsOptions): Metrics {
  const registry = new Registry();
  registerBuildInfo(registry, version);
  registerGauges(registry, gauges);
  const requestSink = createRequestMetrics(registry);
  const proxy = createProxyMetrics(registry);
  const upstreamSink = createUpstreamMetrics(registry, upstreams);
  const cacheSink = createCacheMetrics(registry);
  const hookSink = createHookMetrics(registry, notifications);
  const lost = createSinkMetrics(registry);
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
      upstreamSink(notice);
      cacheSink(notice);
      hookSink(notice);
    },
    lost,
    render: async () => withoutNaN(await registry.metrics()),
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

/** The mean of no event-loop samples is NaN, which spoils every sum over nodes; no sample is the better answer. */
function withoutNaN(text: string): string {
  return text.replaceAll(/^[^#\n].* nan\n/gim, "");
}
