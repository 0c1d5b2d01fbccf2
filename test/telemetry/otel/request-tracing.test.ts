import {
  AlwaysOnSampler,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import t from "tap";
import { createRequestTracing } from "../../../src/telemetry/otel/request-tracing.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const parent = `00-${"a".repeat(32)}-${"b".repeat(16)}`;

function setUp(ofWorkers = false) {
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({
    sampler: new AlwaysOnSampler(),
    spanProcessors: [new SimpleSpanProcessor({ exporter })],
  });
  const tracing = createRequestTracing(provider.getTracer("test"), { ofWorkers, scheme: "http" });
  return { tracing, ended: () => exporter.getFinishedSpans() };
}

t.test("of one span there are 128 below it, and how many more there would be", (t) => {
  const { tracing, ended } = setUp();
  const span = tracing.begin("GET", undefined);
  for (let at = 0; at < 200; at++) span?.child("work", {})?.end();
  span?.finish(sampleEvent(), true);
  t.equal(ended().length, 129);
  t.equal(ended().at(-1)?.attributes["entrepot.spans_left_out"], 72);
  t.end();
});

t.test("what goes on after the end of a request is not its work", (t) => {
  const { tracing, ended } = setUp();
  const span = tracing.begin("GET", undefined);
  span?.finish(sampleEvent(), true);
  t.equal(span?.child("later", {}), undefined);
  span?.set({ later: true });
  span?.end(new Error("later"));
  t.equal(ended().length, 1);
  t.equal(ended()[0]?.status.code, 0);
  t.end();
});

t.test("an error is named by its code, and its words have no credentials", (t) => {
  const { tracing, ended } = setUp();
  const span = tracing.begin("GET", undefined);
  const error = Object.assign(new Error("at https://me:pw@storage.example.com/x?X-Amz-Signature=f00d"), {
    code: "unreachable",
  });
  span?.child("work", {})?.end(error);
  const [work] = ended();
  t.match(work, { status: { code: 2 }, attributes: { "error.type": "unreachable" } });
  t.notMatch(work?.status.message, /pw|f00d/);
  t.end();
});

t.test("workers decide: behind them a trace goes on, and none begins", (t) => {
  const { tracing } = setUp(true);
  t.equal(tracing.begin("GET", undefined), undefined);
  t.equal(tracing.begin("GET", `${parent}-00`), undefined);
  t.equal(tracing.begin("GET", `${parent}-01`)?.traceId, "a".repeat(32));
  t.end();
});

t.test("a client that does not trace is not traced", (t) => {
  const { tracing } = setUp();
  t.equal(tracing.begin("GET", `${parent}-00`), undefined);
  t.ok(tracing.begin("GET", "nonsense"));
  t.end();
});
