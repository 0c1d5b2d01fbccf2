import t from "tap";
import { RecentRequests } from "../../../src/telemetry/recent/recent-requests.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const start = Date.UTC(2026, 0, 1);

t.test("failures are listed, 401 and 404 are counted, daily life is neither", (t) => {
  const requests = new RecentRequests();
  for (const status of [200, 206, 304, 401, 404, 404, 405, 502])
    requests.onEvent(sampleEvent({ status }), start);
  requests.onEvent(sampleEvent({ status: 499, result: "aborted", abortedBy: "client" }), start);
  requests.onEvent(sampleEvent({ abortedBy: "upstream", result: "error" }), start);
  t.strictSame(
    requests.errors.map(({ status, abortedBy }) => [status, abortedBy]),
    [
      [200, "upstream"],
      [502, null],
      [405, null],
    ],
  );
  t.match(requests.folded, [
    { status: 401, count: 1 },
    { status: 404, count: 2, lastAt: start },
  ]);
  t.end();
});

t.test("the same failure again is one entry with a number", (t) => {
  const requests = new RecentRequests();
  requests.onEvent(sampleEvent({ status: 502, id: "a" }), start);
  requests.onEvent(sampleEvent({ status: 502, id: "b" }), start + 5);
  requests.onEvent(sampleEvent({ status: 502, id: "c", client: "192.0.2.8" }), start + 6);
  t.match(requests.errors, [
    { id: "c", times: 1 },
    { id: "b", times: 2, at: start + 5 },
  ]);
  t.end();
});

t.test("slow transfers: longer than 5 s, with something sent", (t) => {
  const requests = new RecentRequests();
  requests.onEvent(sampleEvent({ durationMs: 5000 }), start);
  requests.onEvent(sampleEvent({ durationMs: 60_000, bytesSent: 0 }), start);
  requests.onEvent(sampleEvent({ durationMs: 5001.4, bytesSent: 42 }), start);
  t.match(requests.slow, [{ durationMs: 5001, sentBytes: 42, ttfbMs: 3, what: /^team\/app@sha256:/ }]);
  t.equal(requests.slow.length, 1);
  t.end();
});

t.test("at most 50 of each, of texts that were cut", (t) => {
  const requests = new RecentRequests();
  const long = "x".repeat(1024);
  for (let i = 0; i < 500; i++) {
    const texts = { path: long, userAgent: long, detail: `${i}${long}`, method: long };
    requests.onEvent(sampleEvent({ ...texts, repository: undefined, status: 500, durationMs: 6000 }), start);
  }
  t.equal(requests.errors.length, 50);
  t.equal(requests.slow.length, 50);
  t.equal(requests.errors[0]?.reason?.startsWith("499x"), true, "the latest first");
  for (const { what, reason, userAgent, method } of requests.errors)
    for (const text of [what, reason, userAgent, method]) t.ok((text?.length ?? 0) <= 320);
  t.end();
});

t.test("what a client put into a path is no secret of ours, but may be one of theirs", (t) => {
  const requests = new RecentRequests();
  const path = "/v2/https://user:hunter2@registry.example.com/x";
  requests.onEvent(sampleEvent({ status: 400, repository: undefined, path }), start);
  t.notMatch(requests.errors[0]?.what, /hunter2/);
  t.end();
});
