import t from "tap";
import { MeasuredRate } from "../../../src/cache/sharing/measured-rate.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const mebibyte = 1024 * 1024;

t.test("the rate is of bytes and time together, what is newer counts for more", async (t) => {
  const { read } = new ManualClock();
  const rate = new MeasuredRate(read);
  rate.note(mebibyte, 1_024);
  t.equal(rate.now, 1_024, "bytes a millisecond");
  rate.note(2 * mebibyte, 2_000);
  t.equal(rate.now, (mebibyte / 2 + 2 * mebibyte) / (1_024 / 2 + 2_000), "half as much after two seconds");
});

t.test("what was here almost at once says nothing of the rate", async (t) => {
  const { read } = new ManualClock();
  const rate = new MeasuredRate(read);
  rate.note(mebibyte, 19);
  t.equal(rate.now, undefined);
  rate.note(mebibyte, 1_024);
  for (let i = 0; i < 100; i++) rate.note(200_000, 0);
  t.equal(rate.now, 1_024);
});

t.test("few bytes are a round trip, unless they took a second", async (t) => {
  const { read } = new ManualClock();
  const rate = new MeasuredRate(read);
  rate.note(1_000, 999);
  t.equal(rate.now, undefined);
  rate.note(40_000, 1_000);
  t.equal(rate.now, 40);
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
