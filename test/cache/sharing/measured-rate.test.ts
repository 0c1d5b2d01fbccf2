import t from "tap";
import { MeasuredRate } from "../../../src/cache/sharing/measured-rate.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const mebibyte = 1024 * 1024;

t.test("the newest measurement moves the mean; few bytes say nothing", async (t) => {
  const { read } = new ManualClock();
  const rate = new MeasuredRate(read);
  t.equal(rate.now, undefined);
  rate.note(1_000, 1);
  t.equal(rate.now, undefined, "that was a round trip");
  rate.note(mebibyte, 1_024);
  t.equal(rate.now, 1_024, "bytes a millisecond");
  rate.note(mebibyte, 512);
  t.equal(rate.now, 0.3 * 2_048 + 0.7 * 1_024);
  rate.note(mebibyte, 0);
  t.ok(Number.isFinite(rate.now), "what was here at once took a millisecond");
});

t.test("after ten minutes nothing is known any more", async (t) => {
  const clock = new ManualClock();
  const rate = new MeasuredRate(clock.read);
  rate.note(mebibyte, 1_024);
  clock.advance(599_999);
  t.equal(rate.now, 1_024);
  clock.advance(1);
  t.equal(rate.now, undefined);
  rate.note(mebibyte, 512);
  t.equal(rate.now, 2_048, "and what was before counts for nothing");
});
