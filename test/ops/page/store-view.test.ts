import t from "tap";
import { toHtml } from "../../../src/ops/page/html.ts";
import { fillsView, storeView } from "../../../src/ops/page/store-view.ts";
import type { StatsDocument } from "../../../src/ops/stats/stats-document.ts";
import { fullDocument, sampleDocument } from "../../fixtures/stats-samples.ts";

const withBytes = (bytes: number, free: number) =>
  sampleDocument(() => {}, {
    disk: () => ({ free, total: 2000 }),
    running: () => ({
      index: { blobs: { totals: () => ({ bytes, count: 1 }) }, history: { movedSince: () => [] } },
    }),
  });

t.test("the store shows the disk where that is the smaller bound", (t) => {
  const document = withBytes(300, 400);
  t.match(
    document.store,
    { limitBytes: 1000, boundBytes: 500, boundBy: "disk" },
    "200 of the disk are a reserve",
  );
  t.match(toHtml(storeView(document)), /300 B<small>of 500 B, 60\.0%.*the disk.*cache\.maxSize, 1\.00 kB/);
  const roomy = withBytes(300, 1500);
  t.match(roomy.store, { boundBytes: 1000, boundBy: "maxSize" });
  t.notMatch(toHtml(storeView(roomy)), /the disk/);
  t.match(withBytes(0, 100).store, { boundBytes: 0, boundBy: "disk" }, "nothing fits");
  t.match(toHtml(storeView(withBytes(0, 100))), /of 0 B, 100%/);
  t.end();
});

t.test("a download shows how fast it is now, how long it takes, and that it has stalled", (t) => {
  const [fill] = fullDocument("x").fills as [StatsDocument["fills"][0]];
  const shown = (changes: Partial<typeof fill>) =>
    toHtml(fillsView({ ...sampleDocument(), fills: [{ ...fill, ...changes }] }));
  t.match(
    shown({ currentBytesPerSecond: 2e6, bytesPerSecond: 1e6, leftMs: 90_000 }),
    /2\.00 MB\/s now, 90 s left, .*1\.00 MB\/s on average/,
  );
  t.match(
    shown({ currentBytesPerSecond: 0, silentMs: 12_000, leftMs: null }),
    /class="state warn".*stalled for 12 s/,
  );
  t.end();
});
