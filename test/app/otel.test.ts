// OTLP through the whole mirror: what a receiver gets of requests, and of the metrics.
import t, { type Test } from "tap";
import { parseExposition, sampleOf } from "../fixtures/exposition.ts";
import { makeImage } from "../fixtures/images.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { otelSettings } from "../fixtures/otel-settings.ts";
import { startOtlpReceiver } from "../fixtures/otlp-receiver.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [200_000] });
const [layer] = image.layers as [(typeof image.layers)[0]];
const blob = `/v2/team/app/blobs/${layer.digest}`;
const traceId = "0af7651916cd43dd8448eb211c80319c";
const parent = "00f067aa0ba902b7";
const sampled = { traceparent: `00-${traceId}-${parent}-01` };

async function start(t: Test, options: MirrorOptions & { readonly changes?: object } = {}) {
  const [upstream, receiver] = [await startUpstream(t), await startOtlpReceiver(t)];
  upstream.addImage("team/app", "1", image);
  const otel = otelSettings(receiver, options.changes);
  const mirror = await startMirror(t, upstream, { ...options, otel, cache: { dir: t.testdir() } });
  const gauge = async (name: string, of = mirror) => {
    const text = await (await fetch(new URL("/metrics", of.ops))).text();
    return sampleOf(parseExposition(text), name);
  };
  const stored = async (of = mirror) => {
    while ((await gauge("entrepot_fills_running", of)) !== 0);
  };
  /** Resolves when everything that was traced has come. */
  const flush = async () => {
    await stored();
    await mirror.app.drain();
  };
  return { upstream, receiver, mirror, gauge, stored, flush };
}

t.test(
  "a cold pull: the client's trace goes on over the fill to upstream, and says what was pulled",
  async (t) => {
    const { upstream, receiver, mirror, stored, flush } = await start(t);
    t.equal((await mirror.get(blob, sampled)).body.length, 200_000);
    await stored();
    t.equal((await mirror.get(blob, sampled)).status, 200);
    await flush();
    const requests = receiver.spans.filter(({ kind }) => kind === 2);
    t.equal(requests.length, 2);
    for (const each of requests) t.match(each, { traceId, parentSpanId: parent, status: {} });
    const [cold, warm] = requests;
    if (cold === undefined || warm === undefined) return;
    t.equal(cold.name, "GET /v2/{name}/blobs/{digest}");
    t.match(cold.attributes, {
      "http.request.method": "GET",
      "http.response.status_code": 200,
      "http.response.body.size": 200_000,
      "http.route": "/v2/{name}/blobs/{digest}",
      "url.scheme": "http",
      "url.path": blob,
      "server.address": "127.0.0.1",
      "server.port": Number(mirror.url.port),
      "client.address": "127.0.0.1",
      "entrepot.result": "miss",
      "entrepot.source": "upstream:upstream",
      "entrepot.upstream": "upstream",
      "entrepot.repository": "team/app",
      "entrepot.digest": layer.digest,
    });
    t.match(cold.resource, { "service.name": "entrepot", "service.instance.id": "mirror" });
    t.match(warm.attributes, { "entrepot.result": "hit", "entrepot.digest": layer.digest });
    const fill = receiver.span("fill");
    t.equal(fill.parentSpanId, cold.spanId);
    t.match(fill.attributes, {
      "entrepot.digest": layer.digest,
      "entrepot.upstream": "upstream",
      "entrepot.bytes": 200_000,
      "entrepot.stored": true,
    });
    t.strictSame(
      receiver
        .below(fill)
        .map(({ name }) => name)
        .sort(),
      ["GET", "disk commit"],
    );
    const get = receiver.below(fill).find(({ name }) => name === "GET");
    t.match(get, { kind: 3, traceId, status: {} });
    const [asked] = upstream.requests.filter(({ kind }) => kind === "blob");
    t.match(get?.attributes, {
      "http.request.method": "GET",
      "http.response.status_code": 200,
      "url.full": `http://127.0.0.1:${upstream.url.port}${asked?.path}`,
      "server.port": Number(upstream.url.port),
    });
    t.equal(
      asked?.headers.traceparent,
      `00-${traceId}-${get?.spanId}-01`,
      "upstream is told of the span that asks it",
    );
    t.ok(
      receiver.spans.some(({ name, parentSpanId }) => name === "disk open" && parentSpanId === warm.spanId),
      "the hit waits for the disk",
    );
    const line = mirror.lines.find(({ msg, result }) => msg === "request" && result === "miss");
    t.equal(line?.trace, traceId, "the log names the trace");
  },
);

t.test("a trace begins here where the client has none, and the log names it", async (t) => {
  const { receiver, mirror, upstream, flush } = await start(t);
  await mirror.get("/v2/team/app/manifests/1");
  await flush();
  const request = receiver.span("GET /v2/{name}/manifests/{reference}");
  t.equal(request.parentSpanId, "");
  t.match(request.traceId, /^[0-9a-f]{32}$/);
  t.match(request.attributes, { "entrepot.reference": "1", "entrepot.digest": image.digest });
  t.equal(mirror.lines.find(({ msg }) => msg === "request")?.trace, request.traceId);
  const [asked] = upstream.requests;
  t.ok(asked?.headers.traceparent?.includes(request.traceId), "upstream is told of it");
  t.notOk(receiver.spans.some(({ attributes }) => attributes["url.path"] === "/readyz"));
});

t.test("a tag that has expired is confirmed below its request, and probes are not traced", async (t) => {
  const clock = new ManualClock();
  const { receiver, mirror, flush } = await start(t, {
    clock: clock.read,
    tags: { ttl: 1_000, refreshAhead: 0 },
  });
  await mirror.get("/v2/team/app/manifests/1");
  clock.advance(2_000);
  await mirror.get("/v2/team/app/manifests/1", sampled);
  await mirror.get("/readyz");
  await flush();
  const request = receiver.spans.find((each) => each.kind === 2 && each.traceId === traceId);
  t.match(request?.attributes, { "entrepot.result": "revalidated" });
  const revalidation = receiver.span("revalidate");
  t.equal(revalidation.parentSpanId, request?.spanId);
  t.match(revalidation.attributes, { "entrepot.joined": false });
  const [head, ...more] = receiver.below(revalidation);
  t.match(head, { name: "HEAD", kind: 3, traceId });
  t.equal(more.length, 0);
  t.notOk(receiver.spans.some(({ attributes }) => attributes["url.path"] === "/readyz"));
});

t.test("one fill, and a request that joins it is linked to it", async (t) => {
  const { upstream, receiver, mirror, gauge, flush } = await start(t);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
  );
  const first = mirror.get(blob, sampled);
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  const other = `00-${"b".repeat(32)}-${parent}-01`;
  const second = mirror.get(blob, { traceparent: other });
  while ((await gauge("entrepot_followers")) !== 2);
  gate.resolve();
  await Promise.all([first, second]);
  await flush();
  const fill = receiver.span("fill");
  t.equal(fill.traceId, traceId);
  const joined = receiver.spans.find((each) => each.kind === 2 && each.traceId === "b".repeat(32));
  t.match(joined?.attributes, { "entrepot.result": "joined" });
  t.strictSame(joined?.links, [{ traceId, spanId: fill.spanId }]);
});

t.test(
  "a failure is one in every span it went through, and no query of a signed address is told",
  async (t) => {
    const storage = await startUpstream(t, { anonymous: true });
    const { upstream, receiver, mirror, flush } = await start(t, {
      upstream: { redirectsTo: ["127.0.0.1"] },
    });
    storage.fault(() => ({ status: 500 }));
    upstream.fault(({ kind, path }) =>
      kind === "blob" && !path.includes("X-Amz")
        ? { status: 307, headers: { location: `${storage.url.origin}//object?X-Amz-Signature=f00d` } }
        : undefined,
    );
    t.equal((await mirror.get(`${blob}?token=sesame`, sampled)).status, 502);
    await flush();
    const request = receiver.span("GET /v2/{name}/blobs/{digest}");
    t.match(request, {
      status: { code: 2 },
      attributes: { "http.response.status_code": 502, "error.type": "502" },
    });
    t.match(receiver.span("fill"), { status: { code: 2 }, attributes: { "error.type": "server_error" } });
    const failed = receiver.spans.filter((each) => each.attributes["http.response.status_code"] === 500);
    t.ok(failed.length > 0);
    for (const each of failed)
      t.match(each, { status: { code: 2 }, attributes: { "url.full": `${storage.url.origin}//object` } });
    t.ok(
      storage.requests.every(({ headers }) => headers.traceparent === undefined),
      "a storage is not told",
    );
    t.notMatch(JSON.stringify(receiver.spans), /f00d|sesame|s3cret/);
  },
);

t.test("from one mirror to the next it is one trace", async (t) => {
  const { receiver, mirror: far, upstream, stored, flush } = await start(t);
  const { username, password } = upstream;
  const otel = otelSettings(receiver);
  const near = await startMirror(t, { url: far.url, username, password }, { otel });
  t.equal((await near.get(blob, sampled)).status, 200);
  await stored(near);
  await near.app.drain();
  await flush();
  const requests = receiver.spans.filter(({ kind }) => kind === 2);
  t.equal(requests.length, 2);
  t.ok(requests.some(({ parentSpanId }) => parentSpanId === parent));
  const second = requests.find(({ parentSpanId }) => parentSpanId !== parent);
  const asking = receiver.spans.find(({ spanId }) => spanId === second?.parentSpanId);
  t.match(asking, { name: "GET", kind: 3, traceId });
  t.equal(asking?.attributes["server.port"], Number(far.url.port));
});

t.test("the share that is traced, and the client's word", async (t) => {
  const { receiver, mirror, upstream, flush } = await start(t, { changes: { sampleRatio: 0 } });
  await mirror.get("/v2/team/app/manifests/1");
  t.equal(upstream.requests.at(-1)?.headers.traceparent, undefined, "no trace begins");
  await mirror.get(blob, { traceparent: `00-${traceId}-${parent}-00` });
  t.match(upstream.requests.at(-1)?.headers.traceparent, new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`));
  await mirror.get(blob, sampled);
  await flush();
  t.equal(receiver.spans.filter(({ kind }) => kind === 2).length, 1, "only that of the client that traces");
});

t.test("a push that passes through: upstream hears of the request's span", async (t) => {
  const { receiver, mirror, upstream, flush } = await start(t, { upstream: { push: true } });
  const answer = await mirror.ask("POST", "/v2/team/app/blobs/uploads/", sampled, Buffer.alloc(0));
  await flush();
  const request = receiver.span("POST /v2/{name}/blobs/uploads/");
  t.equal(request.attributes["http.response.status_code"], answer.status);
  const asked = upstream.requests.find(({ method }) => method === "POST");
  t.equal(asked?.headers.traceparent, `00-${traceId}-${request.spanId}-01`);
});

for (const protocol of ["http/json", "http/protobuf"] as const)
  t.test(
    `${protocol}: spans, and the metrics of /metrics, with the headers of the configuration`,
    async (t) => {
      const { receiver, mirror, flush } = await start(t, { changes: { protocol } });
      await mirror.get(blob);
      await mirror.get(blob);
      await flush();
      t.strictSame(receiver.requests.map(({ path }) => path).sort(), ["/v1/metrics", "/v1/traces"]);
      for (const { headers } of receiver.requests) {
        t.equal(headers["x-tenant"], "team-a");
        t.equal(
          headers["content-type"],
          protocol === "http/json" ? "application/json" : "application/x-protobuf",
        );
      }
      t.equal(receiver.spans.filter(({ kind }) => kind === 2).length, 2);
      const families = parseExposition(await (await fetch(new URL("/metrics", mirror.ops))).text());
      const counters = receiver.points.filter(
        ({ name, kind }) => kind === "sum" && (name.startsWith("entrepot_") || name.startsWith("registry_")),
      );
      t.ok(counters.length > 100);
      for (const { name, attributes, value } of counters) {
        const sample = families.get(name)?.samples.find(({ labels }) => isSame(labels, attributes));
        if (sample?.value !== value) t.equal(value, sample?.value, `${name} ${JSON.stringify(attributes)}`);
      }
      const name = "entrepot_http_request_duration_seconds";
      const histograms = receiver.points.filter((point) => point.name === name && point.value > 0);
      t.equal(histograms.length, 2);
      for (const { attributes, value, sum, bounds = [], counts = [] } of histograms) {
        const samples = families
          .get(name)
          ?.samples.filter(({ labels: { le: _, ...labels } }) => isSame(labels, attributes));
        const sampleValue = (ending: string) =>
          samples?.find((each) => each.name === `${name}_${ending}`)?.value;
        t.equal(value, sampleValue("count"));
        t.equal(sum, sampleValue("sum"));
        let upTo = 0;
        for (const [at, bound] of bounds.entries()) {
          upTo += counts[at] ?? Number.NaN;
          t.equal(upTo, samples?.find(({ labels }) => labels.le === String(bound))?.value, `up to ${bound}`);
        }
        t.equal(counts.length, bounds.length + 1);
      }
    },
  );

function isSame(
  labels: Readonly<Record<string, unknown>>,
  attributes: Readonly<Record<string, unknown>>,
): boolean {
  const entries = Object.entries(labels);
  return (
    entries.length === Object.keys(attributes).length &&
    entries.every(([name, value]) => String(attributes[name]) === value)
  );
}
