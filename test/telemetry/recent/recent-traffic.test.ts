import t from "tap";
import { type RequestEvent, results } from "../../../src/ports/event.ts";
import { RecentTraffic } from "../../../src/telemetry/recent/recent-traffic.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const start = Date.UTC(2026, 0, 1);
const minute = 60_000;

function trafficOf(...events: Partial<RequestEvent>[]): RecentTraffic {
  const traffic = new RecentTraffic();
  for (const event of events) traffic.onEvent(sampleEvent(event), start);
  return traffic;
}

t.test("every result is counted once, and they sum up to the requests", (t) => {
  const traffic = trafficOf(...results.map((result) => ({ result })));
  const { requests, results: counted } = traffic.windows(start)["5m"];
  t.equal(requests, results.length);
  for (const result of results) t.equal(counted[result], 1, result);
  t.end();
});

t.test("saved is what was sent without being fetched", (t) => {
  const traffic = trafficOf({ bytesSent: 1000 }, { bytesSent: 1000, result: "miss" });
  traffic.onNotice({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 1000 }, start);
  t.match(traffic.windows(start)["1h"], {
    sentBytes: 2000,
    fetchedBytes: 1000,
    savedBytes: 1000,
    byteHitRatio: 0.5,
  });
  traffic.onNotice({ kind: "upstream_bytes", upstream: "hub", type: "blob", bytes: 9000 }, start);
  t.match(traffic.windows(start)["1h"], { savedBytes: 0, byteHitRatio: 0 }, "never less than nothing");
  t.end();
});

t.test("hit ratios: by kind, of those that were read at all", (t) => {
  const traffic = trafficOf(
    { route: "blob", result: "hit" },
    { route: "blob", result: "joined" },
    { route: "manifest_tag", result: "stale" },
    { route: "manifest_digest", result: "revalidated" },
    { route: "manifest_tag", result: "miss" },
    { route: "manifest_tag", result: "negative" },
    { route: "blob", result: "aborted" },
    { route: "tags", result: "hit" },
  );
  t.match(traffic.windows(start)["5m"], {
    hitRatio: 3 / 5,
    layerHitRatio: 1 / 2,
    manifestHitRatio: 2 / 3,
  });
  t.match(new RecentTraffic().windows(start)["5m"], { hitRatio: null, byteHitRatio: null });
  t.end();
});

t.test("failed: 5xx and what this side cut; a client that left is not", (t) => {
  const traffic = trafficOf(
    { status: 503 },
    { abortedBy: "upstream" },
    { abortedBy: "node" },
    { abortedBy: "client", status: 499, result: "aborted" },
    { status: 404 },
  );
  t.equal(traffic.windows(start)["5m"].failed, 3);
  t.end();
});

t.test("windows end", (t) => {
  const traffic = trafficOf({});
  t.equal(traffic.windows(start + 4 * minute)["5m"].requests, 1);
  t.equal(traffic.windows(start + 5 * minute)["5m"].requests, 0);
  t.equal(traffic.windows(start + 59 * minute)["1h"].requests, 1);
  t.equal(traffic.windows(start + 60 * minute)["1h"].requests, 0);
  t.equal(traffic.windows(start + 23 * 60 * minute)["24h"].requests, 1);
  t.equal(traffic.windows(start + 24 * 60 * minute)["24h"].requests, 0);
  t.end();
});

t.test("the bytes of a long transfer are spread over it", (t) => {
  const traffic = new RecentTraffic();
  traffic.onEvent(sampleEvent({ bytesSent: 10_000, durationMs: 9_000 }), start + 9_000);
  const { sentBytes } = traffic.series(start + 9_000).minute;
  t.equal(sentBytes.length, 60);
  t.strictSame(
    sentBytes.slice(-10),
    Array.from({ length: 10 }, () => 1000),
  );
  t.equal(traffic.windows(start + 9_000)["5m"].sentBytes, 10_000);
  t.end();
});

t.test("fills, evictions and store errors", (t) => {
  const traffic = new RecentTraffic();
  const fill = { kind: "fill", upstream: "hub", digest: "sha256:0", bytes: 10, durationMs: 1 } as const;
  traffic.onNotice({ ...fill, result: "committed" }, start);
  traffic.onNotice({ ...fill, result: "discarded" }, start);
  traffic.onNotice({ ...fill, result: "not_stored" }, start);
  traffic.onNotice(
    { kind: "eviction", reason: "lru", digest: "sha256:0", bytes: 4, ageMs: 1, orphaned: 0 },
    start,
  );
  traffic.onNotice({ kind: "store_error", op: "open", code: "io", message: "" }, start);
  t.match(traffic.windows(start)["24h"], {
    storedBytes: 10,
    brokenFills: 1,
    evictions: 1,
    evictedBytes: 4,
    storeErrors: 1,
  });
  t.end();
});

t.test("numbers that are none do no harm", (t) => {
  const traffic = trafficOf(
    { bytesSent: Number.NaN },
    { bytesSent: -5 },
    { durationMs: Number.NaN, bytesSent: 7 },
  );
  t.equal(traffic.windows(start)["5m"].sentBytes, 7);
  t.end();
});

t.test("a restart continues the day; columns of another version are found by name", (t) => {
  const saved = trafficOf({ bytesSent: 500 }, { result: "miss" }).save();
  const next = new RecentTraffic();
  next.restore(JSON.parse(JSON.stringify(saved)), start + 30 * minute);
  t.match(next.windows(start + 30 * minute)["24h"], { requests: 2, sentBytes: 1500 });
  t.equal(next.windows(start + 30 * minute)["1h"].results.miss, 1);
  t.equal(next.series(start + 30 * minute).minute.requests.at(-1), 0, "seconds are not kept");
  const other = new RecentTraffic();
  const step = Math.floor(start / (30 * minute));
  const halfHours = [[step, [3, 8, 1]]] as const;
  other.restore({ fields: ["gone", "sentBytes", "requests"], minutes: [], halfHours }, start);
  t.match(other.windows(start)["24h"], { requests: 1, sentBytes: 8 });
  t.end();
});
