// A cold blob that comes in segments, as a receiver of OTLP sees it.
import t from "tap";
import { within } from "../../../src/ports/tracing/span.ts";
import { openOtel } from "../../../src/telemetry/otel/open-otel.ts";
import { app, fillsOver, found } from "../../fixtures/blob-clients.ts";
import { mebibyte, openCache, readAll } from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { otelSettings } from "../../fixtures/otel-settings.ts";
import { startOtlpReceiver } from "../../fixtures/otlp-receiver.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const blob = randomBytesFor("layer", 8 * mebibyte);

t.test(
  "the segments of a fill are spans below it, and bring every byte behind the first part once",
  async (t) => {
    const receiver = await startOtlpReceiver(t);
    const otel = await openOtel({
      ...otelSettings(receiver),
      timeout: undefined,
      node: "mirror",
      version: "1",
      scheme: "http",
      headers: async () => ({}),
      ofWorkers: false,
      lost: (spans, reason) => t.fail(`${spans} spans are lost: ${reason}`),
      metricsFailed: () => {},
    });
    const cache = await openCache(t);
    const { upstream, clock } = cache;
    const digest = upstream.addBlob(app, blob);
    Object.assign(upstream, { segments: 4, roundTrip: 40, chunkSize: 64 * 1024 });
    upstream.transfers.push({ pace: () => clock.advance(80) });
    const request = otel.tracing?.begin("GET", undefined);
    await within(request, async () => {
      const opened = await found(t, cache, app, digest);
      t.ok((await readAll(opened.reader)).equals(blob));
    });
    request?.finish(sampleEvent({ route: "blob" }), true);
    await fillsOver(cache);
    await otel.close();
    const fill = receiver.span("fill");
    t.equal(fill.parentSpanId, receiver.span(/^GET /).spanId);
    t.match(fill.attributes, { "entrepot.bytes": blob.length, "entrepot.stored": true });
    const segments = receiver.below(fill).filter(({ name }) => name === "segment");
    t.ok(segments.length > 3, `${segments.length} segments`);
    t.ok(segments.some(({ attributes }) => attributes["entrepot.role"] === "helper"));
    const bytes = segments.reduce((sum, { attributes }) => sum + Number(attributes["entrepot.bytes"]), 0);
    t.equal(bytes, blob.length, "the first part is the beginning of the first one");
    t.ok(receiver.spans.every(({ traceId }) => traceId === fill.traceId));
  },
);
