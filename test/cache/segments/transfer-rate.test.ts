// When one transfer is slow: a clock that is moved by hand, bytes that are only counted.
import t from "tap";
import { TransferRate } from "../../../src/cache/segments/transfer-rate.ts";
import { flow } from "../../fixtures/byte-flow.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const mebibyte = 1024 * 1024;
const much = 64 * mebibyte;

/** What is said in each interval. */
function slowAfter(rates: readonly number[], left = much, load = 0, roundTrip = 0): boolean[] {
  const clock = new ManualClock();
  const interval = Math.max(250, 4 * roundTrip);
  const measured = new TransferRate({ clock: clock.read, load: () => load, roundTrip });
  return rates.map((rate) =>
    flow(clock, rate, interval, (bytes) => measured.slow(bytes, left)).includes(true),
  );
}

t.test("one transfer is slow", async (t) => {
  const no = [false, false, false];
  const yes = [false, false, true];
  t.same(slowAfter([1000, 900, 700]), yes, "when it has found its speed, and the rest would take long");
  t.same(slowAfter([1000, 2000, 4000]), no, "not while it still becomes faster");
  t.same(slowAfter([1000, 900, 700], 4 * mebibyte - 1), no, "not when little is left");
  t.same(slowAfter([9_000, 8_000, 7_000], 14 * 1000 * 1000), no, "not when the rest takes two seconds");
  t.same(slowAfter([9_000, 8_000, 7_000], 14 * 1000 * 1000 + 1), yes);
  t.same(slowAfter([1000, 900, 700], much, 0.7), no, "not when it is this node that has no time");
  t.same(slowAfter([1000, 1040, 1000]), no, "not when an even rate tells of a full link");
  t.same(slowAfter([1000, 2000, 2000, 2000]), [...no, false], "whose speed it only found now");
  t.same(slowAfter([1000, 2000, 1800, 1600]), [...no, true]);
  t.same(slowAfter([1000, 1060, 1120]), yes, "losses let it rise again slowly");
  t.same(slowAfter([600, 700, 1000]), yes, "by little, that is");
  t.same(slowAfter([1000, 1000, 1000], 256 * mebibyte), yes, "or there is very much left");
});

t.test("one transfer has been faster", async (t) => {
  const no = [false, false, false, false];
  const yes = [false, false, false, true];
  t.same(slowAfter([9000, 9000, 2900, 2900], 2_900_001), yes, "what is left takes more than a second");
  t.same(slowAfter([9000, 9000, 2900, 2900], 2_900_000), no);
  t.same(slowAfter([9000, 9000, 3000, 3000], 3_000_001), no, "a third is not much slower");
  t.same(slowAfter([9000, 9000, 100, 100], 512 * 1024 - 1), no, "too little is left");
  t.same(slowAfter([9000, 9000, 100, 100], 512 * 1024, 0.7), no, "this node has no time");
  t.same(slowAfter([9000, 9000, 100, 9000, 100], 3_000_000), [...no, false], "twice in a row");
});

t.test("over a very long link", async (t) => {
  const slow = (rates: readonly number[], left: number): boolean[] => slowAfter(rates, left, 0, 100);
  const no = [false, false, false];
  t.same(slow([9_000, 8_000, 7_000], 35_000_000), no, "other transfers take their time to begin");
  t.same(slow([9_000, 8_000, 7_000], 35_000_001), [false, false, true], "fifty round trips");
  t.same(slow([9000, 9000, 2900, 2900], 2_900_001), [...no, true], "not when it has been faster");
});

t.test("the time until the next transfer sends is not measured", async (t) => {
  const clock = new ManualClock();
  const rate = new TransferRate({ clock: clock.read, load: () => 0 });
  const slow = (bytes: number): boolean => rate.slow(bytes, 3_000_000);
  flow(clock, 9000, 500, slow);
  rate.interrupt();
  clock.advance(10_000);
  t.same(new Set(flow(clock, 9000, 500, slow)), new Set([false]));
});

t.test("at best", async (t) => {
  const clock = new ManualClock();
  const rate = new TransferRate({ clock: clock.read, load: () => 0 });
  flow(clock, 1000, 100, (bytes) => rate.slow(bytes, much));
  t.equal(rate.slowAtBest(5_000_000), true, "twice as fast it would still take long");
  t.equal(rate.slowAtBest(4_000_000), false, "there is too little left");
  flow(clock, 4000, 150, (bytes) => rate.slow(bytes, much));
  flow(clock, 0, 50, (bytes) => rate.slow(bytes, much));
  t.equal(rate.slowAtBest(11_000_000), false, "the better of the last interval and this one counts");
});

t.test("at best, of one that comes as fast as TCP starts", async (t) => {
  const clock = new ManualClock();
  const rate = new TransferRate({ clock: clock.read, load: () => 0, roundTrip: 100 });
  for (let flight = 14_600; flight < mebibyte; flight *= 2)
    flow(clock, flight / 100, 100, (bytes) => rate.slow(bytes, much));
  t.equal(rate.slowAtBest(much), false, "how fast it will be is not known yet");
  flow(clock, 1000, 200, (bytes) => rate.slow(bytes, much));
  t.equal(
    rate.slowAtBest(much),
    false,
    "acknowledgements are held back, and the head of the answer takes its time",
  );
  flow(clock, 1000, 200, (bytes) => rate.slow(bytes, much));
  t.equal(rate.slowAtBest(much), true, "one that has lost packets is slower");
});
