import fc from "fast-check";
import t from "tap";
import { type RequestEvent, results, routeKinds } from "../../../src/ports/event.ts";
import { createInfluxPoints } from "../../../src/telemetry/lines/influx-points.ts";
import { parseLines } from "../../fixtures/line-protocol.ts";
import { sampleDigest, sampleEvent } from "../../fixtures/telemetry-samples.ts";

const now = () => 1_767_323_045_678;
const pointsOf = (event: RequestEvent) =>
  parseLines(createInfluxPoints({ node: "n 1", now }).ofRequest(event).join(""));

t.test("a hit is one point", async (t) => {
  t.strictSame(pointsOf(sampleEvent({ user: "alice", forwardedFor: "198.51.100.7", traceId: "ab" })), [
    {
      measurement: "registry_access",
      tags: {
        code: "200",
        method: "GET",
        node: "n 1",
        project: "team",
        result: "hit",
        source: "disk",
        type: "blob",
        upstream: "hub",
      },
      fields: {
        status: 200n,
        success: true,
        uri: `/v2/team/app/blobs/${sampleDigest}`,
        repo: "team/app",
        ref: sampleDigest,
        bytes: 1000n,
        ttfb_ms: 3.3,
        duration_ms: 20.1,
        error: "",
        id: "req-1",
        expected: 1000n,
        client: "192.0.2.7",
        user: "alice",
        forwarded_for: "198.51.100.7",
        user_agent: "containerd/2.1",
        trace: "ab",
      },
      time: 1_767_323_045_678_000_000n,
    },
  ]);
});

t.test("everything else is two, of which one says where the answer came from", async (t) => {
  for (const result of results) {
    const [access, origin] = pointsOf(sampleEvent({ result }));
    t.equal(access?.measurement, "registry_access");
    t.equal(origin?.measurement, result === "hit" ? undefined : "request_origin");
  }
  const [, failed] = pointsOf(
    sampleEvent({
      result: "error",
      source: "none",
      status: 502,
      upstreamStatus: 503,
      detail: "server_error",
      ttfbMs: undefined,
    }),
  );
  t.match(failed, {
    tags: { node: "n 1", project: "_other", result: "error", source: "none", type: "blob", upstream: "hub" },
    fields: {
      method: "GET",
      success: false,
      status: 502n,
      upstream_status: 503n,
      error: "server_error",
      ttfb_ms: undefined,
    },
  });
});

t.test("what is unknown is left out", async (t) => {
  const [point] = pointsOf(
    sampleEvent({
      upstream: undefined,
      repository: undefined,
      reference: undefined,
      bytesExpected: undefined,
    }),
  );
  t.strictSame(Object.keys(point?.tags ?? {}), ["code", "method", "node", "result", "source", "type"]);
  t.notOk(Object.keys(point?.fields ?? {}).some((key) => ["repo", "ref", "expected", "trace"].includes(key)));
});

t.test("80,000 requests at once: every line has a time of its own", async (t) => {
  const points = createInfluxPoints({ node: "n1", now }).ofRequest;
  const times = new Set<string>();
  let lines = 0;
  for (let i = 0; i < 80_000; i++) {
    for (const line of points(sampleEvent({ result: i % 2 === 0 ? "hit" : "miss" }))) {
      lines++;
      times.add(line.slice(line.lastIndexOf(" ")));
    }
  }
  t.equal(lines, 120_000);
  t.equal(times.size, lines);
});

t.test("whatever clients send: lines stay lines, and tags have few values", async (t) => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom('",x=1 1\n', "\\", "a,b=c d", "\r\n", "\ud800"),
  );
  const events = fc.sample(
    fc.record({
      method: text,
      path: text,
      repository: fc.option(text, { nil: undefined }),
      reference: text,
      userAgent: text,
      forwardedFor: text,
      detail: text,
      id: text,
      client: text,
      route: fc.oneof(fc.constantFrom(...routeKinds), text),
      result: fc.oneof(fc.constantFrom(...results), text),
      source: fc.oneof(
        text,
        text.map((name) => `upstream:${name}`),
      ),
      status: fc.oneof(fc.integer(), fc.double()),
      bytesSent: fc.oneof(fc.double(), fc.constant(-5)),
      bytesExpected: fc.oneof(fc.double(), fc.constant(undefined)),
      durationMs: fc.double(),
      ttfbMs: fc.option(fc.double(), { nil: undefined }),
    }),
    { numRuns: 3000, seed: 7 },
  ) as Partial<RequestEvent>[];
  const points = createInfluxPoints({ node: "n1", now }).ofRequest;
  const read = parseLines(events.flatMap((event) => points(sampleEvent(event))).join(""));
  t.equal(read.filter(({ measurement }) => measurement === "registry_access").length, 3000);
  const values = (key: string) => new Set(read.map(({ tags }) => tags[key]));
  t.ok(values("method").size <= 10);
  t.ok(values("code").size <= 60);
  t.ok(values("type").size <= 6);
  t.ok(values("source").size <= 5);
  t.ok(values("result").size <= results.length);
  t.ok(values("project").size <= 502);
});
