import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { createHistory } from "../../../src/ops/stats/history.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { RecentActivity } from "../../../src/telemetry/recent/recent-activity.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

function start(path: string) {
  const clock = new ManualClock();
  const activity = new RecentActivity({ upstreams: ["hub"], clock: clock.read });
  const notices: Notice[] = [];
  return { activity, notices, history: createHistory(path, activity, (notice) => notices.push(notice)) };
}

t.test("a day of traffic survives a restart", async (t) => {
  const path = join(t.testdir(), "history.json");
  const first = start(path);
  await first.history.load();
  first.activity.onEvent(sampleEvent({ bytesSent: 5 }));
  await Promise.all([first.history.save(), first.history.save()]);
  const second = start(path);
  await second.history.load();
  t.match(second.activity.report().windows["24h"], { requests: 1, sentBytes: 5 });
  t.strictSame([...first.notices, ...second.notices], []);
});

t.test("an hour of an upstream's figures survives a restart, as traffic does", async (t) => {
  const path = join(t.testdir(), "history.json");
  const first = start(path);
  first.activity.onNotice({
    kind: "upstream_request",
    upstream: "hub",
    type: "blob",
    method: "GET",
    status: 200,
    ttfbMs: 12.4,
  });
  const failure = { kind: "upstream_error", upstream: "hub", status: undefined, message: "" } as const;
  for (const code of ["timeout", "timeout", "protocol"]) first.activity.onNotice({ ...failure, code });
  await first.history.save();
  const second = start(path);
  await second.history.load();
  t.match(second.activity.report().upstreams, [
    {
      requests: 1,
      errors: 3,
      ttfbP50Ms: 12,
      errorCodes: [
        { code: "timeout", count: 2 },
        { code: "protocol", count: 1 },
      ],
      outage: null,
    },
  ]);
  t.strictSame([...first.notices, ...second.notices], []);
});

t.test("a damaged file is a notice and an empty history, and is replaced", async (t) => {
  const path = join(t.testdir({ "history.json": '{"version":1,' }), "history.json");
  const { activity, history, notices } = start(path);
  await history.load();
  t.match(notices, [{ kind: "store_error", op: "history.read", code: "io" }]);
  t.equal(activity.report().windows["24h"].requests, 0);
  await history.save();
  t.match(await readFile(path, "utf8"), /^\{"version":1,"fields"/);
});

t.test("a write that fails is a notice, and the next one works", async (t) => {
  const directory = t.testdir();
  const { history, notices } = start(join(directory, "gone", "history.json"));
  await history.save();
  t.match(notices, [{ kind: "store_error", op: "history.write" }]);
  const other = start(join(directory, "history.json"));
  await writeFile(join(directory, "history.json"), "old");
  await other.history.save();
  t.strictSame(await readdir(directory), ["history.json"]);
});
