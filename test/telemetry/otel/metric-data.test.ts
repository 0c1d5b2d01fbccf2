import { resourceFromAttributes } from "@opentelemetry/resources";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import t from "tap";
import { createMetricProducer, metricDataOf } from "../../../src/telemetry/otel/metric-data.ts";

const times = { startTime: [1, 0], endTime: [2, 0] } as const;

async function dataOf(make: (registers: Registry[]) => void) {
  const registry = new Registry();
  make([registry]);
  const families = await registry.getMetricsAsJSON();
  return families.map((family) =>
    metricDataOf(family, { startTime: [...times.startTime], endTime: [...times.endTime] }),
  );
}

t.test("a counter is a sum that only grows, under its own name", async (t) => {
  const [sum] = await dataOf((registers) => {
    const counter = new Counter({ name: "a_total", help: "All.", labelNames: ["x"], registers });
    counter.inc({ x: "1" }, 3);
    counter.inc({ x: "2" }, 4);
  });
  t.match(sum, {
    descriptor: { name: "a_total", description: "All.", unit: "" },
    isMonotonic: true,
    dataPoints: [
      { attributes: { x: "1" }, value: 3, ...times },
      { attributes: { x: "2" }, value: 4 },
    ],
  });
});

t.test("a gauge without a number is left out", async (t) => {
  const gauge = (value: number) =>
    dataOf((registers) => new Gauge({ name: "b", help: "B.", registers }).set(value));
  t.strictSame(await gauge(Number.NaN), [undefined]);
  t.match(await gauge(5), [{ dataPoints: [{ value: 5 }] }]);
});

t.test("a histogram: each bucket has its own, the last one what is above all bounds", async (t) => {
  const [histogram] = await dataOf((registers) => {
    const made = new Histogram({ name: "c", help: "C.", labelNames: ["x"], buckets: [1, 2, 5], registers });
    for (const value of [0.5, 1, 1.5, 4, 9, 10]) made.observe({ x: "1" }, value);
    made.observe({ x: "2" }, 2);
  });
  t.match(histogram, {
    dataPoints: [
      {
        attributes: { x: "1" },
        value: { buckets: { boundaries: [1, 2, 5], counts: [2, 1, 1, 2] }, sum: 26, count: 6 },
      },
      { attributes: { x: "2" }, value: { buckets: { counts: [0, 1, 0, 0] }, sum: 2, count: 1 } },
    ],
  });
});

t.test("metrics that cannot be read are told of, and nothing is sent", async (t) => {
  const failures: string[] = [];
  const options = { resource: resourceFromAttributes({}), version: "1", startedAt: 0 };
  const failed = ({ message }: Error) => failures.push(message);
  const producer = createMetricProducer(() => Promise.reject(new Error("no such gauge")), {
    ...options,
    failed,
  });
  const { resourceMetrics, errors } = await producer.collect();
  t.strictSame(failures, ["no such gauge"]);
  t.match(errors, [{ message: "no such gauge" }]);
  t.strictSame(resourceMetrics.scopeMetrics, []);
});
