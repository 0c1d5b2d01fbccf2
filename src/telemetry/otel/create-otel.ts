// The SDK of OpenTelemetry, put together. Only open-otel.ts loads this file, and with it the SDK.
import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import { OTLPMetricExporter as JsonMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter as ProtobufMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { OTLPTraceExporter as JsonTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import {
  defaultResource,
  detectResources,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import {
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from "@opentelemetry/sdk-metrics";
import { ParentBasedSampler, TraceIdRatioBasedSampler, TracerProvider } from "@opentelemetry/sdk-trace";
import { BoundedSpans, largestBatch, reasonOf } from "./bounded-spans.ts";
import { createMetricProducer } from "./metric-data.ts";
import type { Otel, OtelOptions } from "./otel-options.ts";
import { createRequestTracing } from "./request-tracing.ts";

/** Milliseconds for what waits when the program ends. */
const flushTimeout = 2_000;
/** Longest text of an attribute, in UTF-16 units. */
const longestAttribute = 1024;
/** Milliseconds the SDK waits for its exporter, which has a time-out of its own, at least. */
const patience = 30_000;

export function createOtel(options: OtelOptions): Otel {
  const { traces, metrics, families } = options;
  const resource = resourceOf(options);
  const spans = traces ? createTracer(options, resource) : undefined;
  const meters = metrics && families ? createMeters(options, resource, families) : undefined;
  const both = [spans?.provider, meters].filter((each) => each !== undefined);
  return {
    tracing: spans?.tracing,
    flush: () => inTime(both.map((each) => each.forceFlush())),
    close: () => inTime(both.map((each) => each.shutdown())),
  };
}

function createTracer(options: OtelOptions, resource: Resource) {
  const { protocol, sampleRatio, queue, delay, timeout = 0, lost, version } = options;
  const to = {
    ...exporterOptions(options, "traces"),
    // Also the bound of the transfers that a receiver leaves hanging.
    concurrencyLimit: Math.ceil(queue / largestBatch) + 1,
  };
  const exporter = protocol === "http/json" ? new JsonTraceExporter(to) : new ProtobufTraceExporter(to);
  const exportTimeout = Math.max(patience, timeout + 1_000);
  const provider = new TracerProvider({
    resource,
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sampleRatio) }),
    spanLimits: { attributeValueLengthLimit: longestAttribute },
    spanProcessors: [new BoundedSpans(exporter, { queue, delay, exportTimeout, lost })],
  });
  return { provider, tracing: createRequestTracing(provider.getTracer("entrepot", version), options) };
}

function createMeters(
  options: OtelOptions,
  resource: Resource,
  families: NonNullable<OtelOptions["families"]>,
): MeterProvider {
  const { protocol, interval, version, metricsFailed } = options;
  const to = exporterOptions(options, "metrics");
  const exporter = protocol === "http/json" ? new JsonMetricExporter(to) : new ProtobufMetricExporter(to);
  const reader = new PeriodicExportingMetricReader({
    exporter: telling(exporter, metricsFailed),
    exportIntervalMillis: interval,
    exportTimeoutMillis: Math.min(interval, patience),
    metricProducers: [
      createMetricProducer(families, {
        resource,
        version,
        startedAt: Date.now(),
        failed: (error) => metricsFailed(reasonOf(error)),
      }),
    ],
  });
  return new MeterProvider({ resource, readers: [reader] });
}

/** The exporter, of whose failures `failed` is told: the SDK keeps them to itself. */
export function telling(exporter: PushMetricExporter, failed: (reason: string) => void): PushMetricExporter {
  return {
    export(metrics, done) {
      exporter.export(metrics, (result: ExportResult) => {
        if (result.code !== ExportResultCode.SUCCESS) failed(reasonOf(result.error));
        done(result);
      });
    },
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}

/** What is left out the SDK takes from OTEL_EXPORTER_OTLP_*, as it does certificates and compression. */
function exporterOptions({ endpoint, headers, timeout }: OtelOptions, signal: "traces" | "metrics") {
  return {
    ...(endpoint === "environment" ? {} : { url: `${endpoint}/v1/${signal}` }),
    ...(timeout === undefined ? {} : { timeoutMillis: timeout }),
    headers: async () => ({ ...(await headers()) }),
  };
}

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word. */
function resourceOf({ node, version }: OtelOptions): Resource {
  const own = { "service.name": "entrepot", "service.version": version, "service.instance.id": node };
  return defaultResource()
    .merge(resourceFromAttributes(own))
    .merge(detectResources({ detectors: [envDetector] }));
}

async function inTime(work: readonly Promise<void>[]): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, flushTimeout);
  await Promise.race([Promise.allSettled(work), late]);
  clearTimeout(timer);
}
