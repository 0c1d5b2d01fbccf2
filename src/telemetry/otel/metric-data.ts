// The metrics of Prometheus as those of OTLP: each number is counted once, and both show the same under the same names
// (OpenTelemetry, "Prometheus and OpenMetrics Compatibility").
import { type HrTime, ValueType } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  type DataPoint,
  DataPointType,
  type Histogram,
  type MetricData,
  type MetricProducer,
} from "@opentelemetry/sdk-metrics";
import type { MetricFamily } from "../metrics/prometheus.ts";

type Sample = MetricFamily["values"][number] & { readonly metricName?: string };
type Labels = Record<string, string | number>;

export interface MetricProducerOptions {
  readonly resource: Resource;
  readonly version: string;
  /** Milliseconds since the epoch: since when counters count. */
  readonly startedAt: number;
  /** The metrics could not be read: the SDK keeps it to itself. Must not throw. */
  readonly failed: (error: Error) => void;
}

/** Reads the metrics whenever the SDK exports. */
export function createMetricProducer(
  families: () => Promise<readonly MetricFamily[]>,
  { resource, version, startedAt, failed }: MetricProducerOptions,
): MetricProducer {
  return {
    async collect() {
      let all: readonly MetricFamily[];
      try {
        all = await families();
      } catch (thrown) {
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        failed(error);
        return { resourceMetrics: { resource, scopeMetrics: [] }, errors: [error] };
      }
      const times = { startTime: timeOf(startedAt), endTime: timeOf(Date.now()) };
      const metrics = all.flatMap((family) => metricDataOf(family, times) ?? []);
      const scopeMetrics = [{ scope: { name: "entrepot", version }, metrics }];
      return { resourceMetrics: { resource, scopeMetrics }, errors: [] };
    },
  };
}

export type Times = Pick<DataPoint<number>, "startTime" | "endTime">;

/** Undefined for a metric without a number that can be sent, and for a kind that is not used here. */
export function metricDataOf(family: MetricFamily, times: Times): MetricData | undefined {
  const { name, help: description, type, values } = family;
  const common = {
    descriptor: { name, description, unit: "", valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
  // In prom-client's types a kind is a number, in what it gives a word.
  const kind = String(type);
  if (kind === "histogram") {
    const dataPoints = histogramsOf(values).map((point) => ({ ...point, ...times }));
    return dataPoints.length === 0
      ? undefined
      : { ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints };
  }
  const dataPoints = values
    // The mean of nothing is no number, and is not shown to Prometheus either.
    .filter(({ value }) => !Number.isNaN(value))
    .map(({ value, labels }) => ({ attributes: labelsOf(labels), value, ...times }));
  if (dataPoints.length === 0) return undefined;
  if (kind === "gauge") return { ...common, dataPointType: DataPointType.GAUGE, dataPoints };
  if (kind !== "counter") return undefined;
  return { ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints };
}

/** prom-client gives the buckets, each with those below it, the sum and the count of a series one after the other. */
function histogramsOf(
  samples: readonly Sample[],
): readonly Pick<DataPoint<Histogram>, "attributes" | "value">[] {
  const series = new Map<
    string,
    { labels: Labels; bounds: number[]; upTo: number[]; sum: number; count: number }
  >();
  for (const { metricName = "", labels: all, value } of samples) {
    const { le, ...labels } = labelsOf(all);
    const key = JSON.stringify(labels);
    const one = series.get(key) ?? { labels, bounds: [], upTo: [], sum: 0, count: 0 };
    series.set(key, one);
    if (metricName.endsWith("_sum")) one.sum = value;
    else if (metricName.endsWith("_count")) one.count = value;
    else if (le !== "+Inf") {
      one.bounds.push(Number(le));
      one.upTo.push(value);
    }
  }
  return [...series.values()].map(({ labels, bounds, upTo, sum, count }) => {
    const counts = [...upTo, count].map((value, at, all) => value - (all[at - 1] ?? 0));
    return { attributes: labels, value: { buckets: { boundaries: bounds, counts }, sum, count } };
  });
}

function labelsOf(labels: Sample["labels"]): Labels {
  return Object.fromEntries(
    Object.entries(labels).filter((each): each is [string, string | number] => each[1] !== undefined),
  );
}

function timeOf(milliseconds: number): HrTime {
  return [Math.floor(milliseconds / 1000), (milliseconds % 1000) * 1_000_000];
}
