import t from "tap";
import type { StatsDocument } from "../../../src/ops/stats/stats-document.ts";
import { verdictOf } from "../../../src/ops/stats/verdict.ts";
import type { RecentActivity } from "../../../src/telemetry/recent/recent-activity.ts";
import type { ManualClock } from "../../fixtures/manual-time.ts";
import { sampleDocument } from "../../fixtures/stats-samples.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

type Happen = (activity: RecentActivity, clock: ManualClock) => void;

const error: Happen = (activity) =>
  activity.onNotice({
    kind: "upstream_error",
    upstream: "hub",
    code: "timeout",
    status: undefined,
    message: "",
  });
const success: Happen = (activity) =>
  activity.onNotice({
    kind: "upstream_request",
    upstream: "hub",
    type: "blob",
    method: "GET",
    status: 200,
    ttfbMs: 1,
  });
const minutes =
  (n: number): Happen =>
  (_, clock) =>
    clock.advance(n * 60_000);

function reasonsAfter(...happenings: Happen[]): readonly string[] {
  const { verdict } = sampleDocument((activity, clock) => {
    for (const happen of happenings) happen(activity, clock);
  });
  t.equal(verdict.level, verdict.reasons.length === 0 ? "ok" : "degraded");
  return verdict.reasons;
}

t.test("upstreams", (t) => {
  t.strictSame(reasonsAfter(), [], "a node nobody asked anything is well");
  t.strictSame(reasonsAfter(success, minutes(1), error, minutes(1)), [
    "upstream hub fails: timeout (last success 2 min ago)",
  ]);
  t.strictSame(reasonsAfter(error, minutes(1), success), [], "it has answered since");
  t.strictSame(reasonsAfter(error, minutes(5)).length, 1, "five minutes are lately");
  const overFive: Happen = (_, clock) => clock.advance(5 * 60_000 + 1);
  t.strictSame(reasonsAfter(error, overFive), [], "nobody has asked it for long");
  t.match(
    reasonsAfter(success, minutes(1), (activity) =>
      activity.onNotice({ kind: "circuit", upstream: "hub", state: "open", previous: "closed" }),
    )[0],
    /^upstream hub has not been answering for 0 ms \(last success 60 s ago\); what is cached is served$/,
  );
  t.end();
});

t.test("an outage is as long as it is since its first failure, not since the last probe", (t) => {
  const circuit =
    (state: "open" | "half_open"): Happen =>
    (activity) =>
      activity.onNotice({ kind: "circuit", upstream: "hub", state, previous: "closed" });
  const probes = [1, 2, 3].flatMap(() => [minutes(1), circuit("half_open"), circuit("open")]);
  t.match(reasonsAfter(success, minutes(1), error, circuit("open"), ...probes, minutes(1)), [
    /^upstream hub has not been answering for 4 min \(last success 5 min ago\)/,
  ]);
  t.end();
});

t.test("a wrong password and a wrong path are told for as long as they last", (t) => {
  const check =
    (code: string, message: string): Happen =>
    (activity) =>
      activity.onNotice({
        kind: "upstream_check",
        upstream: "hub",
        trouble: { code, message },
        changed: true,
      });
  t.strictSame(reasonsAfter(check("auth", "no"), minutes(60)), [
    "upstream hub refuses this mirror's account (no success since the start)",
  ]);
  t.strictSame(reasonsAfter(check("no_registry", "upstream hub: /v2/ is not there"), minutes(60)), [
    "upstream hub: /v2/ is not there (no success since the start)",
  ]);
  t.end();
});

t.test("what clients got", (t) => {
  const events =
    (number: number, changes: Parameters<typeof sampleEvent>[0]): Happen =>
    (activity) => {
      for (let i = 0; i < number; i++) activity.onEvent(sampleEvent(changes));
    };
  t.strictSame(reasonsAfter(events(3, { result: "stale" })), ["3 tags served stale in 5 min"]);
  t.strictSame(reasonsAfter(events(100, {}), events(2, { status: 503 })), [
    "2.0% of the answers failed in 5 min",
  ]);
  t.strictSame(
    reasonsAfter(events(99, {}), events(1, { status: 503 })),
    [],
    "one in a hundred is no verdict",
  );
  t.strictSame(reasonsAfter(events(98, {}), events(1, { status: 503 })), [
    "1.0% of the answers failed in 5 min",
  ]);
  t.strictSame(reasonsAfter(events(49, { status: 503 })), [], "too few to tell");
  t.strictSame(reasonsAfter(events(49, {}), events(1, { status: 503 })), [
    "2.0% of the answers failed in 5 min",
  ]);
  t.strictSame(reasonsAfter(events(100, { status: 503 }), minutes(6)), [], "long ago");
  t.match(
    reasonsAfter((activity) =>
      activity.onNotice({
        kind: "fill",
        result: "discarded",
        upstream: "hub",
        digest: "",
        bytes: 1,
        durationMs: 1,
      }),
    )[0],
    /^1 download with wrong or missing bytes/,
  );
  t.end();
});

t.test("the store and its disk", (t) => {
  t.strictSame(
    reasonsAfter((activity) =>
      activity.onNotice({ kind: "store_error", op: "append", code: "no_space", message: "" }),
    ),
    ["1 store error in 5 min, the last: append no_space"],
  );
  const full = sampleDocument(() => {}, { disk: () => ({ free: 100, total: 2000 }) });
  t.strictSame(full.verdict, { level: "degraded", reasons: ["the disk has only 100 B free"] });
  const { diskReserveBytes } = full.store;
  const least = (diskReserveBytes ?? 0) * 0.9;
  for (const [free, level] of [
    [least, "ok"],
    [least - 1, "degraded"],
  ] as const)
    t.equal(
      sampleDocument(() => {}, { disk: () => ({ free, total: 2000 }) }).verdict.level,
      level,
      `${free}`,
    );
  t.end();
});

t.test("receivers of notifications that take nothing", (t) => {
  const attempt =
    (result: "failed" | "delivered" | "dropped"): Happen =>
    (activity) =>
      activity.onNotice({
        kind: "notification",
        endpoint: "ci",
        result,
        events: 2,
        message: "failed (ECONNREFUSED)",
      });
  const failed = attempt("failed");
  t.strictSame(reasonsAfter(failed, failed), [], "it may have been restarted");
  t.strictSame(reasonsAfter(failed, minutes(3), failed, failed, attempt("dropped")), [
    "notifications for ci: has taken nothing for 3 min: failed (ECONNREFUSED); 2 events dropped",
  ]);
  t.strictSame(reasonsAfter(failed, failed, failed, attempt("delivered")), []);
  t.end();
});

t.test("the node itself, the worst first", (t) => {
  const document = sampleDocument(
    (activity, clock) => {
      success(activity, clock);
      activity.onNotice({ kind: "shared_store", store: "redis", usable: false, message: "refused" });
      activity.onNotice({ kind: "shared_store", store: "s3", usable: false, message: "gone" });
      activity.onNotice({ kind: "shared_store", store: "s3", usable: true, message: "" });
      clock.advance(3000);
    },
    { services: ["redis", "s3"] },
  );
  const late: StatsDocument = {
    ...document,
    node: { ...document.node, draining: true },
    runtime: { ...document.runtime, eventLoopP99Ms: 300 },
  };
  t.strictSame(verdictOf(late, ["store failed: EIO"]), {
    level: "down",
    reasons: [
      "not ready: store failed: EIO",
      "draining: no new requests are taken",
      "redis: not usable for 3.0 s: refused; this node goes on by itself",
      "this node is overloaded: timers come 300 ms late",
    ],
  });
  const lateness = (eventLoopP99Ms: number) =>
    verdictOf(
      { ...late, services: [], node: document.node, runtime: { ...late.runtime, eventLoopP99Ms } },
      [],
    ).level;
  t.equal(lateness(250), "ok");
  t.equal(lateness(251), "degraded");
  t.end();
});

t.test("what is stale of an upstream that is not asked is no trouble, and hides none of another", (t) => {
  const document = sampleDocument((activity) => activity.onEvent(sampleEvent({ result: "stale" })));
  const [hub] = document.upstreams as [StatsDocument["upstreams"][0]];
  const offline = { ...hub, offline: true };
  const reasons = (...upstreams: StatsDocument["upstreams"]) =>
    verdictOf({ ...document, upstreams }, []).reasons;
  t.strictSame(reasons(offline), []);
  t.strictSame(reasons(offline, { ...hub, name: "far" }), [], "nothing has failed");
  t.strictSame(reasons(offline, { ...hub, name: "far", errors: 2 }), ["1 tag served stale in 5 min"]);
  t.end();
});
