// OTLP of a node with workers: each process sends its own spans, the node its metrics once, and the SDK reads its own variables.
import t from "tap";
import { startOtlpReceiver } from "../fixtures/otlp-receiver.ts";
import { Content } from "./fixtures/content.ts";
import { startFront } from "./fixtures/front.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { startWorkers } from "./fixtures/worker-node.ts";

t.setTimeout(180_000);

const [traceId, parent] = ["0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"];

t.test("a trace goes through worker and primary to upstream, and metrics come once", async (t) => {
  if (!requires(t, "linux")) return;
  const [front, receiver] = [await startFront(t), await startOtlpReceiver(t)];
  const content = new Content("traced", 3_000_000);
  front.add(content);
  const mirror = await startWorkers(t, front, 2, {
    env: {
      ENTREPOT_OTEL_ENDPOINT: "environment",
      ENTREPOT_OTEL_SAMPLE_RATIO: "0%",
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=team-a",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    },
  });
  const pull = async (traceparent?: string) => {
    const headers = traceparent === undefined ? {} : { traceparent };
    const answer = await fetch(mirror.blobUrl(content.digest), { headers });
    t.equal((await answer.arrayBuffer()).byteLength, 3_000_000);
  };
  await pull(`00-${traceId}-${parent}-01`);
  await until("it is stored", async () => (await mirror.metric("entrepot_fills_running")) === 0);
  await pull(`00-${"b".repeat(32)}-${parent}-01`);
  await pull();
  const route = 'route="blob"';
  await until(
    "all are counted",
    async () => (await mirror.metric("entrepot_http_requests_total", route)) === 3,
  );
  t.same(await mirror.stop(), { code: 0, signal: null }, "the end waits for what is to be sent");

  const [cold, ...more] = receiver.spans.filter((span) => span.kind === 2 && span.traceId === traceId);
  t.equal(more.length, 0);
  if (cold === undefined) throw new Error(`no request among ${receiver.spans.map(({ name }) => name)}`);
  t.match(cold, {
    name: "GET /v2/{name}/blobs/{digest}",
    parentSpanId: parent,
    attributes: { "entrepot.result": "miss", "entrepot.digest": content.digest },
    resource: { "service.name": "entrepot", "deployment.environment.name": "test" },
  });
  const asked = receiver.below(cold).filter(({ name }) => name === "GET");
  t.equal(asked.length, 1, "the primary's part of it");
  const fill = receiver.span("fill");
  t.equal(fill.parentSpanId, asked[0]?.spanId);
  t.ok(receiver.below(fill).some(({ kind, name }) => kind === 3 && name === "GET"));

  const warm = receiver.spans.find((span) => span.kind === 2 && span.traceId === "b".repeat(32));
  t.match(warm?.attributes, { "entrepot.result": "hit" });
  t.strictSame(
    [...new Set(receiver.spans.map((span) => span.traceId))].sort(),
    [traceId, "b".repeat(32)],
    "what no client traces and no worker has chosen is not traced by the primary either",
  );

  const exports = receiver.requests.filter(({ path }) => path === "/v1/metrics");
  t.equal(exports.length, 2, "when it has drained and at its end, by the primary alone");
  const counted = receiver.points.filter(
    ({ name, attributes }) => name === "entrepot_http_requests_total" && attributes.route === "blob",
  );
  t.equal(
    counted.reduce((sum, { value }) => sum + value, 0),
    3,
  );
  for (const { headers } of receiver.requests) t.equal(headers["x-tenant"], "team-a");
});

t.test("what workers lose is counted by the node", async (t) => {
  if (!requires(t, "linux")) return;
  const [front, receiver] = [await startFront(t), await startOtlpReceiver(t)];
  receiver.usual = 500;
  const content = new Content("lost", 1_000);
  front.add(content);
  const mirror = await startWorkers(t, front, 2, {
    env: {
      ENTREPOT_OTEL_ENDPOINT: receiver.url,
      ENTREPOT_OTEL_DELAY: "10ms",
      ENTREPOT_OTEL_METRICS: "false",
    },
  });
  t.equal((await fetch(mirror.blobUrl(content.digest))).status, 200);
  const lost = () => mirror.metric("entrepot_telemetry_lost_total", 'sink="otel"');
  const before = await until("the fill's are lost", async () => (await lost()) || undefined);
  for (let at = 0; at < 20; at++) t.equal((await fetch(mirror.blobUrl(content.digest))).status, 200);
  await until("those of the workers are lost", async () => (await lost()) >= before + 20);
});
