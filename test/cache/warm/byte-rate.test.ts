import t from "tap";
import { ByteRate } from "../../../src/cache/warm/byte-rate.ts";
import { ManualClock, ManualPause } from "../../fixtures/manual-time.ts";

t.test("so many bytes a second, whoever takes them", async (t) => {
  const clock = new ManualClock();
  const time = new ManualPause();
  time.instant = () => false;
  const stop = new AbortController();
  const rate = new ByteRate(1_000_000, clock.read, time.pause, stop.signal);
  t.equal(rate.came(100_000), undefined, "a tenth of a second may come at once");
  const held = rate.came(500_000);
  t.type(held, Promise);
  void rate.came(500_000);
  t.same(time.asked, [500, 1_000], "the second waits for the first as well");
  clock.advance(10_000);
  time.elapse();
  await held;
  t.equal(rate.came(100_000), undefined, "what was not used is not saved up");
  t.type(rate.came(50_000), Promise);
  stop.abort();
  await rate.came(10_000_000);
  t.pass("nothing is held any more");
});
