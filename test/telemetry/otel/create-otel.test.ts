import { type ExportResult, ExportResultCode } from "@opentelemetry/core";
import { resourceFromAttributes } from "@opentelemetry/resources";
import t from "tap";
import { telling } from "../../../src/telemetry/otel/create-otel.ts";

t.test("metrics that are not sent are told of, whether or not the exporter says why", (t) => {
  const told = (result: ExportResult) => {
    const reasons: string[] = [];
    const results: ExportResult[] = [];
    const exporter = telling(
      {
        export: (_metrics, done) => done(result),
        forceFlush: async () => {},
        shutdown: async () => {},
      },
      (reason) => reasons.push(reason),
    );
    exporter.export({ resource: resourceFromAttributes({}), scopeMetrics: [] }, (each) => results.push(each));
    t.strictSame(results, [result]);
    return reasons;
  };
  t.strictSame(told({ code: ExportResultCode.SUCCESS }), []);
  t.strictSame(told({ code: ExportResultCode.FAILED }), ["the receiver does not take them"]);
  t.strictSame(told({ code: ExportResultCode.FAILED, error: new Error("timed out") }), ["timed out"]);
  t.end();
});
