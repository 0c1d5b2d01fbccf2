import t from "tap";
import { RecentRepositories } from "../../../src/telemetry/recent/recent-repositories.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

const start = Date.UTC(2026, 0, 1);
const hour = 3_600_000;

t.test("the heaviest by bytes and by misses, by upstream", (t) => {
  const repositories = new RecentRepositories(start);
  repositories.onEvent(sampleEvent({ bytesSent: 10 }), start);
  repositories.onEvent(sampleEvent({ bytesSent: 30, repository: "team/big" }), start);
  repositories.onEvent(sampleEvent({ bytesSent: 5, upstream: "other", result: "miss" }), start);
  t.strictSame(repositories.report(start), {
    since: start,
    byBytes: [
      { upstream: "hub", repository: "team/big", weight: 30, over: 0 },
      { upstream: "hub", repository: "team/app", weight: 10, over: 0 },
      { upstream: "other", repository: "team/app", weight: 5, over: 0 },
    ],
    byMisses: [{ upstream: "other", repository: "team/app", weight: 1, over: 0 }],
  });
  t.end();
});

t.test("names that do not exist are not counted", (t) => {
  const repositories = new RecentRepositories(start);
  repositories.onEvent(sampleEvent({ status: 404, bytesSent: 100 }), start);
  repositories.onEvent(sampleEvent({ repository: undefined, bytesSent: 100 }), start);
  t.strictSame(repositories.report(start).byBytes, []);
  t.end();
});

t.test("ten are shown, and yesterday is forgotten", (t) => {
  const repositories = new RecentRepositories(start);
  for (let i = 0; i < 1000; i++) repositories.onEvent(sampleEvent({ repository: `r${i}` }), start);
  t.equal(repositories.report(start).byBytes.length, 10);
  repositories.onEvent(sampleEvent(), start + 7 * hour);
  t.match(repositories.report(start + 8 * hour), { since: start });
  t.match(repositories.report(start + 14 * hour), {
    since: start + 7 * hour,
    byBytes: [{ repository: "team/app", weight: 1000 }],
  });
  t.strictSame(repositories.report(start + 30 * hour).byBytes, []);
  t.end();
});
