import t from "tap";
import { maxParts, WarmProgress } from "../../../src/cache/warm/warm-progress.ts";

t.test("parts beyond the most of one image are left out, which is one failure that says so", async (t) => {
  const progress = new WarmProgress();
  for (let each = 0; each < 19_999; each++) progress.add("blob", `sha256:${each}`, 1);
  t.ok(progress.add("manifest", "sha256:last", undefined), "20,000 parts");
  t.equal(progress.add("blob", "sha256:0", 1), undefined);
  t.equal(progress.failed, 0, "one that is known already takes no room");
  t.equal(progress.add("blob", "sha256:beyond", 1), undefined);
  t.equal(progress.add("manifest", "sha256:further", undefined), undefined);
  t.equal(progress.count, 20_000);
  t.equal(progress.count, maxParts);
  t.equal(progress.failed, 1);
  t.match(progress.failures, [{ part: "sha256:beyond", reason: /more than 20000 parts/ }]);
});
