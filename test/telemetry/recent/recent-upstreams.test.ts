import t from "tap";
import type { Notice } from "../../../src/ports/event.ts";
import { RecentUpstreams } from "../../../src/telemetry/recent/recent-upstreams.ts";

const start = Date.UTC(2026, 0, 1);

function answered(status: number, ttfbMs = 10, type: "blob" | "token" = "blob"): Notice {
  return { kind: "upstream_request", upstream: "hub", type, method: "GET", status, ttfbMs };
}

function failure(code: string, message = "no luck"): Notice {
  return { kind: "upstream_error", upstream: "hub", code, status: undefined, message };
}

t.test("an upstream nobody has asked yet", (t) => {
  t.strictSame(new RecentUpstreams(["hub"]).report(start), [
    {
      name: "hub",
      lastSuccessAt: null,
      circuit: "closed",
      circuitSince: null,
      outage: null,
      requests: 0,
      errors: 0,
      limited: 0,
      fetchedBytes: 0,
      ttfbP50Ms: null,
      ttfbP95Ms: null,
      rateLimitRemaining: null,
      lastError: null,
      errorCodes: [],
    },
  ]);
  t.end();
});

t.test("answers, limits, errors by code, and the last success", (t) => {
  const upstreams = new RecentUpstreams(["hub"]);
  for (let i = 1; i <= 100; i++) upstreams.onNotice(answered(200, i), start);
  upstreams.onNotice(answered(503), start + 1);
  upstreams.onNotice(answered(429), start + 2);
  upstreams.onNotice(answered(200, 5000, "token"), start + 3);
  upstreams.onNotice(failure("timeout"), start + 4);
  upstreams.onNotice(failure("timeout"), start + 5);
  upstreams.onNotice(failure("auth", "https://user:secret@hub.example.com failed"), start + 6);
  upstreams.onNotice({ kind: "rate_limit", upstream: "hub", remaining: 98 }, start);
  upstreams.onNotice({ kind: "circuit", upstream: "hub", state: "open", previous: "closed" }, start + 7);
  const [hub] = upstreams.report(start + 10);
  t.match(hub, {
    lastSuccessAt: start,
    circuit: "open",
    circuitSince: start + 7,
    requests: 103,
    limited: 1,
    errors: 3,
    ttfbP50Ms: 49,
    ttfbP95Ms: 95,
    rateLimitRemaining: 98,
    errorCodes: [
      { code: "timeout", count: 2 },
      { code: "auth", count: 1 },
    ],
  });
  t.equal(hub?.lastError?.at, start + 6);
  t.notMatch(hub?.lastError?.message, /secret/);
  t.equal(hub?.outage?.since, start + 4);
  const [later] = upstreams.report(start + 3_600_000);
  t.match(later, { requests: 0, errors: 0, errorCodes: [], lastSuccessAt: start }, "counts are of an hour");
  t.end();
});

t.test("other upstreams' notices, and unknown ones, change nothing; codes are bounded", (t) => {
  const upstreams = new RecentUpstreams(["hub", "other"]);
  upstreams.onNotice({ ...answered(200), upstream: "nobody" } as Notice, start);
  upstreams.onNotice(answered(200), start);
  const [hub, other] = upstreams.report(start);
  t.equal(hub?.requests, 1);
  t.equal(other?.requests, 0);
  for (let i = 0; i < 1000; i++) upstreams.onNotice(failure(`code-${i}`, "x".repeat(10_000)), start);
  const [full] = upstreams.report(start);
  t.equal(full?.errorCodes.length, 16);
  t.equal(full?.errors, 1000);
  t.equal(full?.lastError?.message.length, 300);
  t.end();
});

t.test("the rate is the median of what was fetched, of blobs that are large enough to measure it", (t) => {
  const upstreams = new RecentUpstreams(["hub"]);
  const fill = (bytes: number, durationMs: number, upstream = "hub"): void =>
    upstreams.onNotice(
      { kind: "fill", result: "committed", upstream, digest: "sha256:0", bytes, durationMs },
      start,
    );
  t.equal(upstreams.fetchRate("hub"), undefined);
  fill(1_000_000, 1);
  fill(10_000_000, 0);
  fill(9_000_000, 1, "other");
  t.equal(upstreams.fetchRate("hub"), undefined);
  fill(2_000_000, 1_000);
  fill(10_000_000, 1_000);
  fill(40_000_000, 1_000);
  t.equal(upstreams.fetchRate("hub"), 10_000);
  t.equal(upstreams.fetchRate("nobody"), undefined);
  for (let i = 0; i < 64; i++) fill(5_000_000, 1_000);
  t.equal(upstreams.fetchRate("hub"), 5_000, "of the last 64");
  t.end();
});

function circuit(state: "open" | "half_open" | "closed"): Notice {
  return { kind: "circuit", upstream: "hub", state, previous: "closed" };
}

function check(trouble?: { code: string; message: string }): Notice {
  return { kind: "upstream_check", upstream: "hub", trouble, changed: true };
}

t.test("an outage counts from its first failure, however often it is probed, with every attempt", (t) => {
  const upstreams = new RecentUpstreams(["hub"]);
  upstreams.onNotice(answered(200), start);
  for (let at = 1; at <= 3; at++) upstreams.onNotice(failure("unreachable"), start + at * 1000);
  upstreams.onNotice(circuit("open"), start + 3000);
  for (let probe = 0; probe < 50; probe++) {
    upstreams.onNotice(circuit("half_open"), start + 5000 + probe * 4000);
    upstreams.onNotice(circuit("open"), start + 7000 + probe * 4000);
  }
  upstreams.onNotice(failure("circuit_open", "not asked for now"), start + 210_000);
  const [hub] = upstreams.report(start + 210_000);
  t.match(hub, {
    lastSuccessAt: start,
    circuitSince: start + 3000,
    outage: { since: start + 1000, attempts: 53, lastAttemptAt: start + 201_000 },
    lastError: { code: "unreachable" },
  });
  upstreams.onNotice(circuit("half_open"), start + 211_000);
  upstreams.onNotice(circuit("closed"), start + 211_001);
  t.match(upstreams.report(start + 211_001), [{ outage: null, circuitSince: start + 211_001 }]);
  t.end();
});

t.test("a refused account is no success, whatever else is refused after it", (t) => {
  const upstreams = new RecentUpstreams(["hub"]);
  upstreams.onNotice(answered(401), start);
  upstreams.onNotice(failure("auth"), start);
  upstreams.onNotice(answered(401), start + 1000);
  upstreams.onNotice(answered(404), start + 2000);
  t.match(upstreams.report(start + 2000), [{ lastSuccessAt: null, outage: { since: start, attempts: 1 } }]);
  upstreams.onNotice(answered(200), start + 3000);
  t.match(upstreams.report(start + 3000), [{ lastSuccessAt: start + 3000, outage: null }]);
  t.end();
});

t.test("where everything is 404 there has been no success, and a check says why", (t) => {
  const upstreams = new RecentUpstreams(["hub"]);
  upstreams.onNotice(answered(404), start);
  t.match(upstreams.report(start), [{ lastSuccessAt: null, outage: null }]);
  upstreams.onNotice(check({ code: "no_registry", message: "wrong path" }), start + 1000);
  upstreams.onNotice(answered(404), start + 2000);
  t.match(upstreams.report(start + 2000), [
    { outage: { since: start + 1000 }, lastError: { code: "no_registry", message: "wrong path" } },
  ]);
  upstreams.onNotice(check(), start + 3000);
  t.match(upstreams.report(start + 3000), [{ lastSuccessAt: start + 3000, outage: null }]);
  t.end();
});

t.test("an upstream that answered badly once and then that something is not there is well", (t) => {
  const upstreams = new RecentUpstreams(["hub"]);
  upstreams.onNotice(failure("timeout"), start);
  upstreams.onNotice(answered(404), start + 1000);
  t.match(upstreams.report(start + 1000), [{ outage: null }]);
  t.end();
});
