// How many transfers at once, from how fast bytes come: a clock that is moved by hand, bytes that are only counted.
import t from "tap";
import {
  BlobConcurrency,
  type LearnedConcurrency,
  UpstreamConcurrency,
} from "../../../src/cache/segments/concurrency.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { flow } from "../../fixtures/byte-flow.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const mebibyte = 1024 * 1024;
const much = 64 * mebibyte;

/** A concurrency that takes note of bytes; `learned` in order. */
function setUp(start: LearnedConcurrency | undefined, max = 8) {
  const clock = new ManualClock();
  const learned: string[] = [];
  const state = { held: false };
  const concurrency = new BlobConcurrency(
    {
      max,
      clock: clock.read,
      load: () => 0,
      held: () => state.held,
      learn: ({ transfers, settled }) => learned.push(`${transfers}${settled ? "!" : ""}`),
    },
    start,
  );
  const send = (rate: number, milliseconds: number, running = concurrency.now, left = much) =>
    flow(clock, rate, milliseconds, (bytes) => concurrency.note(bytes, running, left));
  return { clock, concurrency, learned, send, state };
}

/** Longer than it takes new transfers to get going and to be measured. */
const enough = 2_500;

t.test("as many as there may be, then half as many as long as that is no slower", async (t) => {
  const { concurrency, learned, send } = setUp(undefined);
  t.equal(concurrency.now, 1);
  for (const rate of [1000, 900, 700]) send(rate, 250);
  t.equal(concurrency.now, 8, "one was slow");
  t.same(learned, ["8"]);
  send(4000, enough);
  t.equal(concurrency.now, 4);
  send(3900, enough);
  t.equal(concurrency.now, 2);
  t.same(learned, ["8", "4"]);
  send(2000, enough);
  t.equal(concurrency.now, 4, "two were slower");
  t.same(learned, ["8", "4", "4!"]);
  send(100, enough);
  t.equal(concurrency.now, 4, "that is settled");
});

t.test("where several do not help it is one in the end", async (t) => {
  const { concurrency, learned, send } = setUp({ transfers: 8, settled: false });
  for (const expected of [4, 2, 1]) {
    send(1000, enough);
    t.equal(concurrency.now, expected);
  }
  send(1000, enough);
  t.same(learned, ["4", "2", "1!"]);
});

t.test("fewer are not tried", async (t) => {
  const { concurrency, learned, send } = setUp({ transfers: 8, settled: false });
  send(4000, 10_000, 3);
  t.equal(concurrency.now, 8, "when there are no connections to compare");
  const short = setUp({ transfers: 8, settled: false });
  short.send(4000, enough, 8, 39_000_000);
  t.equal(short.concurrency.now, 8, "when it is over soon");
  const settled = setUp({ transfers: 8, settled: true });
  settled.send(1000, 10_000);
  t.equal(settled.concurrency.now, 8, "when they are known to be slower");
  t.same([...learned, ...short.learned, ...settled.learned], []);
});

t.test("transfers that are still ending are not measured as fewer", async (t) => {
  const { concurrency, send } = setUp({ transfers: 8, settled: false });
  send(4000, enough);
  t.equal(concurrency.now, 4);
  send(4000, 10_000, 6);
  t.equal(concurrency.now, 4, "six still run");
  send(2000, enough, 4);
  t.equal(concurrency.now, 8, "four alone were slower");
});

t.test("the bound of the configuration", async (t) => {
  t.equal(setUp({ transfers: 8, settled: true }, 3).concurrency.now, 3);
  const { concurrency, send } = setUp(undefined, 2);
  for (const rate of [1000, 900, 700]) send(rate, 250);
  t.equal(concurrency.now, 2);
});

t.test("ranges that are refused", async (t) => {
  const { concurrency, learned, send } = setUp({ transfers: 8, settled: false });
  concurrency.refuse();
  t.equal(concurrency.now, 1);
  send(10, 10_000);
  t.same(learned, ["1!"]);
});

t.test("a part that has come is the time to decide about the next", async (t) => {
  const { concurrency, send } = setUp(undefined);
  send(1000, 200);
  concurrency.decide(4_000_000);
  t.equal(concurrency.now, 1);
  concurrency.decide(5_000_000);
  t.equal(concurrency.now, 8);
});

t.test("one that was fast enough to the end", async (t) => {
  const { concurrency, learned, send } = setUp(undefined);
  send(20_000, 1_000);
  concurrency.end();
  t.same(learned, ["1"]);
  const several = setUp({ transfers: 8, settled: false });
  several.concurrency.end();
  t.same(several.learned, []);
});

t.test("nothing is learned from bytes that were held back", async (t) => {
  const one = setUp(undefined);
  one.state.held = true;
  for (const rate of [1000, 900, 700]) one.send(rate, 250);
  one.concurrency.decide(much);
  t.equal(one.concurrency.now, 1, "that is not slow");
  one.concurrency.end();
  t.same(one.learned, [], "nor fast enough");
  const several = setUp({ transfers: 8, settled: false });
  several.send(4000, 1_500);
  several.state.held = true;
  several.send(1000, 10_000);
  t.equal(several.concurrency.now, 8, "fewer are not tried");
  several.state.held = false;
  several.send(4000, 1_500);
  t.equal(several.concurrency.now, 8, "what was being measured begins again");
  several.send(4000, 1_000);
  t.equal(several.concurrency.now, 4);
  t.same(several.learned, []);
});

t.test("what is known of an upstream is forgotten after ten minutes, and changes are told", async (t) => {
  const clock = new ManualClock();
  const notices: Notice[] = [];
  const known = new UpstreamConcurrency(clock.read, (notice) => notices.push(notice));
  t.equal(known.of("far"), undefined);
  known.learn("far", { transfers: 1, settled: false });
  known.learn("far", { transfers: 8, settled: false });
  known.learn("far", { transfers: 8, settled: true });
  t.same(known.of("far"), { transfers: 8, settled: true });
  t.equal(known.of("near"), undefined);
  clock.advance(10 * 60_000 - 1);
  t.same(known.of("far"), { transfers: 8, settled: true });
  clock.advance(1);
  t.equal(known.of("far"), undefined);
  known.learn("far", { transfers: 1, settled: true });
  t.same(
    notices,
    [8, 1].map((width) => ({ kind: "segments", upstream: "far", width })),
  );
});
