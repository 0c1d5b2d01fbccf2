import t from "tap";
import { RecentActivity } from "../../../src/telemetry/recent/recent-activity.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

t.test("one sink for all of it; pings are no traffic", (t) => {
  const clock = new ManualClock();
  const activity = new RecentActivity({ upstreams: ["hub"], clock: clock.read });
  activity.onEvent(sampleEvent({ status: 500, durationMs: 9000 }));
  activity.onEvent(sampleEvent({ route: "ping", repository: undefined }));
  const eviction = { kind: "eviction", digest: "sha256:0", bytes: 4, orphaned: 0 } as const;
  for (const ageMs of [1, 5, 9]) activity.onNotice({ ...eviction, reason: "lru", ageMs });
  activity.onNotice({ ...eviction, reason: "corrupt", ageMs: 0 });
  activity.onNotice({ kind: "store_error", op: "open", code: "io", message: "EIO" });
  const report = activity.report();
  t.equal(report.windows["5m"].requests, 1);
  t.match(report, {
    slow: [{ durationMs: 9000 }],
    errors: { last: [{ status: 500 }] },
    repositories: { byBytes: [] },
    eviction: { medianAgeMs: 5, lastAt: clock.now },
    lastStoreError: { at: clock.now, op: "open", code: "io", message: "EIO" },
    upstreams: [{ name: "hub" }],
  });
  t.end();
});

t.test("what is kept does not grow with what happens", (t) => {
  const clock = new ManualClock();
  const activity = new RecentActivity({ upstreams: ["hub"], clock: clock.read });
  const sizes: number[] = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 2000; i++) {
      clock.advance(997);
      const name = `team/${String(round * 2000 + i).padStart(6, "0")}`;
      activity.onEvent(
        sampleEvent({ repository: name, status: i % 2 ? 200 : 500, durationMs: 7000, result: "miss" }),
      );
      activity.onNotice({
        kind: "upstream_error",
        upstream: "hub",
        code: `c${i}`,
        status: 500,
        message: name,
      });
    }
    sizes.push(JSON.stringify([activity.report(), activity.save()]).length);
  }
  const [first = 0, , last = 0] = sizes;
  t.ok(last < first * 1.2, `${first} then ${last} characters`);
  t.ok(last < 150_000);
  t.end();
});
