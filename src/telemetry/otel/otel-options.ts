// What OTLP is opened with, and what comes of it. Nothing here needs the SDK.
import type { RequestTracing } from "../../ports/tracing/span.ts";
import type { MetricFamily } from "../metrics/prometheus.ts";

/** Times in milliseconds. Plain data: workers are sent it as it is. */
export interface OtelSettings {
  /** What stands before `/v1/traces`; "environment": whatever the SDK finds in OTEL_EXPORTER_OTLP_*. */
  readonly endpoint: string;
  readonly protocol: "http/protobuf" | "http/json";
  /** For one export with its further attempts; undefined: what OTEL_EXPORTER_OTLP_TIMEOUT says, or 10 s. */
  readonly timeout: number | undefined;
  readonly traces: boolean;
  readonly metrics: boolean;
  /** Share of the requests without a trace of their client's that are traced, 0 to 1. */
  readonly sampleRatio: number;
  /** Spans that wait to be sent, at most. */
  readonly queue: number;
  /** From the first span that waits until it is sent. */
  readonly delay: number;
  /** Between two exports of metrics. */
  readonly interval: number;
  /** The name of this node: `service.instance.id`. */
  readonly node: string;
  /** Of this program: `service.version`. */
  readonly version: string;
  /** How clients connect. */
  readonly scheme: "http" | "https";
}

export interface OtelOptions extends OtelSettings {
  /** Read anew for every export. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  /** Read for every export; left out: another process of the node exports them. */
  readonly families?: () => Promise<readonly MetricFamily[]>;
  /** Requests come from workers of this node: their traces are gone on with, and none begins here. */
  readonly ofWorkers: boolean;
  /** So many spans will never be sent, and why, for people. Must not throw. */
  readonly lost: (spans: number, reason: string) => void;
  /** Metrics could not be sent; the next export has what this one had. Must not throw. */
  readonly metricsFailed: (reason: string) => void;
}

export interface Otel {
  /** Undefined: nothing is traced. */
  readonly tracing: RequestTracing | undefined;
  /** Resolves when what waits now is sent or lost, after 2 s at the latest. Never rejects. */
  flush(): Promise<void>;
  /** The same, and nothing is sent after it. */
  close(): Promise<void>;
}
