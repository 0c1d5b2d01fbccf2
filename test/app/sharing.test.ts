// What nodes share, as seen by a node without traffic.
import t, { type Test } from "tap";
import { openSharedParts, type SharedPartsOptions } from "../../src/app/sharing.ts";
import type { Notice } from "../../src/ports/event.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";
import { mirrorConfig } from "../fixtures/mirror.ts";
import { s3ConfigOf } from "../fixtures/s3-fixture.ts";
import { type ScriptedS3, startS3 } from "../fixtures/scripted-s3.ts";

/** Two adapters of nothing: no blob, tag or link is asked for here. */
const nothing = {} as SharedPartsOptions["own"] & SharedPartsOptions["store"];

async function opened(t: Test, s3: ScriptedS3) {
  const upstream = { url: new URL("http://127.0.0.1:1"), username: "ci", password: "x" };
  const config = mirrorConfig(upstream, t.testdir(), { s3: s3ConfigOf(s3.url) });
  const time = new ManualPause();
  const notices: Notice[] = [];
  const shared = await openSharedParts({
    config,
    settings: () => config,
    pseudonym: "node",
    store: nothing,
    check: async () => "sound",
    own: { tags: nothing, links: { onEnd: () => {} } } as unknown as SharedPartsOptions["own"],
    notices: (notice) => notices.push(notice),
    clock: Date.now,
    steady: Date.now,
    pause: time.pause,
  });
  t.teardown(() => shared.close());
  const told = () =>
    notices.flatMap((notice) => (notice.kind === "shared_store" ? [[notice.store, notice.usable]] : []));
  return { shared, time, told };
}

t.test(
  "an S3 that is gone is told once, without traffic, however often it is probed; and once that it is back",
  async (t) => {
    const s3 = await startS3(t);
    const { shared, time, told } = await opened(t, s3);
    await eventually("S3 was found", () => told().length > 0);
    t.same(told(), [["s3", true]]);
    await s3.stop();
    for (let minute = 0; minute < 3; minute++) await shared.check();
    for (let probe = 0; probe < 10; probe++) {
      const probes = time.asked.length;
      time.elapse();
      await eventually("the next probe waits", () => time.asked.length > probes);
    }
    t.same(told(), [
      ["s3", true],
      ["s3", false],
    ]);
    await s3.start();
    await eventually("S3 is back", () => {
      time.elapse();
      return told().length > 2;
    });
    t.same(told().slice(2), [["s3", true]]);
  },
);

t.test("an S3 that is gone at the start is told, too", async (t) => {
  const s3 = await startS3(t);
  await s3.stop();
  const { told } = await opened(t, s3);
  await eventually("S3 was looked for", () => told().length > 0);
  t.same(told(), [["s3", false]]);
});
