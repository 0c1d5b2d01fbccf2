// How many transfers at once, from how fast bytes come: a clock that is moved by hand, bytes that are only counted.
import t from "tap";
import { type KnownWidth, SegmentWidth, SegmentWidths } from "../../../src/cache/segments/concurrency.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { flow } from "../../fixtures/byte-flow.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const mebibyte = 1024 * 1024;
const much = 64 * mebibyte;

/** A width that is told of bytes; `learnt` in order. */
function setUp(start: KnownWidth | undefined, max = 8) {
  const clock = new ManualClock();
  const learnt: string[] = [];
  const width = new SegmentWidth(
    {
      max,
      clock: clock.read,
      load: () => 0,
      learnt: (known) => learnt.push(`${known.width}${known.settled ? "!" : ""}`),
    },
    start,
  );
  const send = (rate: number, milliseconds: number, running = width.now, left = much) =>
    flow(clock, rate, milliseconds, (bytes) => width.note(bytes, running, left));
  return { clock, width, learnt, send };
}

/** Longer than it takes new transfers to get going and to be measured. */
const enough = 2_500;

t.test("as many as there may be, then half as many as long as that is no slower", async (t) => {
  const { width, learnt, send } = setUp(undefined);
  t.equal(width.now, 1);
  for (const rate of [1000, 900, 700]) send(rate, 250);
  t.equal(width.now, 8, "one was slow");
  t.same(learnt, ["8"]);
  send(4000, enough);
  t.equal(width.now, 4);
  send(3900, enough);
  t.equal(width.now, 2);
  t.same(learnt, ["8", "4"]);
  send(2000, enough);
  t.equal(width.now, 4, "two were slower");
  t.same(learnt, ["8", "4", "4!"]);
  send(100, enough);
  t.equal(width.now, 4, "that is settled");
});

t.test("where several do not help it is one in the end", async (t) => {
  const { width, learnt, send } = setUp({ width: 8, settled: false });
  for (const expected of [4, 2, 1]) {
    send(1000, enough);
    t.equal(width.now, expected);
  }
  send(1000, enough);
  t.same(learnt, ["4", "2", "1!"]);
});

t.test("fewer are not tried", async (t) => {
  const { width, learnt, send } = setUp({ width: 8, settled: false });
  send(4000, 10_000, 3);
  t.equal(width.now, 8, "when there are no connections to compare");
  const short = setUp({ width: 8, settled: false });
  short.send(4000, enough, 8, 39_000_000);
  t.equal(short.width.now, 8, "when it is over soon");
  const settled = setUp({ width: 8, settled: true });
  settled.send(1000, 10_000);
  t.equal(settled.width.now, 8, "when they are known to be slower");
  t.same([...learnt, ...short.learnt, ...settled.learnt], []);
});

t.test("transfers that are still ending are not measured as fewer", async (t) => {
  const { width, send } = setUp({ width: 8, settled: false });
  send(4000, enough);
  t.equal(width.now, 4);
  send(4000, 10_000, 6);
  t.equal(width.now, 4, "six still run");
  send(2000, enough, 4);
  t.equal(width.now, 8, "four alone were slower");
});

t.test("the bound of the configuration", async (t) => {
  t.equal(setUp({ width: 8, settled: true }, 3).width.now, 3);
  const { width, send } = setUp(undefined, 2);
  for (const rate of [1000, 900, 700]) send(rate, 250);
  t.equal(width.now, 2);
});

t.test("ranges that are refused", async (t) => {
  const { width, learnt, send } = setUp({ width: 8, settled: false });
  width.refuse();
  t.equal(width.now, 1);
  send(10, 10_000);
  t.same(learnt, ["1!"]);
});

t.test("a part that has come is the time to decide about the next", async (t) => {
  const { width, send } = setUp(undefined);
  send(1000, 200);
  width.decide(4_000_000);
  t.equal(width.now, 1);
  width.decide(5_000_000);
  t.equal(width.now, 8);
});

t.test("one that was fast enough to the end", async (t) => {
  const { width, learnt, send } = setUp(undefined);
  send(20_000, 1_000);
  width.end();
  t.same(learnt, ["1"]);
  const several = setUp({ width: 8, settled: false });
  several.width.end();
  t.same(several.learnt, []);
});

t.test("what is known of an upstream is forgotten after ten minutes, and changes are told", async (t) => {
  const clock = new ManualClock();
  const notices: Notice[] = [];
  const widths = new SegmentWidths(clock.read, (notice) => notices.push(notice));
  t.equal(widths.of("far"), undefined);
  widths.learn("far", { width: 1, settled: false });
  widths.learn("far", { width: 8, settled: false });
  widths.learn("far", { width: 8, settled: true });
  t.same(widths.of("far"), { width: 8, settled: true });
  t.equal(widths.of("near"), undefined);
  clock.advance(10 * 60_000 - 1);
  t.same(widths.of("far"), { width: 8, settled: true });
  clock.advance(1);
  t.equal(widths.of("far"), undefined);
  widths.learn("far", { width: 1, settled: true });
  t.same(
    notices,
    [8, 1].map((width) => ({ kind: "segments", upstream: "far", width })),
  );
});
