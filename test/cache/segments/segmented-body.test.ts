// When the bytes of a blob come in one transfer, and when in several: what upstream is asked for.
import t, { type Test } from "tap";
import { type LearnedConcurrency, UpstreamConcurrency } from "../../../src/cache/segments/concurrency.ts";
import { SegmentBudget } from "../../../src/cache/segments/segment-queue.ts";
import { openSegmented } from "../../../src/cache/segments/segmented-body.ts";
import type { OpenPart } from "../../../src/cache/segments/segments.ts";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import type { BlobAnswer } from "../../../src/ports/upstream-answer.ts";
import { app, fillsOver, found } from "../../fixtures/blob-clients.ts";
import { mebibyte, nothingLeft, openCache, readAll } from "../../fixtures/cache-fixture.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { eventually, ManualClock, ManualPause, quiet } from "../../fixtures/manual-time.ts";
import { nothingAhead } from "../../fixtures/nothing-ahead.ts";

const blob = randomBytesFor("layer", 8 * mebibyte);

interface Link {
  readonly segments?: number;
  readonly roundTrip?: number | undefined;
  /** The round trip that is known from the first answer on. */
  readonly firstAnswer?: number;
  readonly known?: LearnedConcurrency;
  readonly size?: number;
  readonly ignoresRanges?: boolean;
  /** Milliseconds each 64 KiB take, by the number of the transfer. */
  readonly pace?: (transfer: number, at: number) => number;
  /** This node holds the bytes back. */
  readonly held?: boolean;
}

/** The whole blob over a link, the ranges upstream was asked for, and the bytes it sent. */
function setUp({
  segments = 4,
  roundTrip,
  known,
  size = blob.length,
  ignoresRanges,
  pace = () => 0,
  firstAnswer,
  held = false,
}: Link) {
  const clock = new ManualClock();
  const concurrency = new UpstreamConcurrency(clock.read, () => {});
  if (known !== undefined) concurrency.learn("far", known);
  const asked: string[] = [];
  let begun = 0;
  let left = 0;
  const open: OpenPart = async (from, _signal, { to, use }): Promise<BlobAnswer> => {
    asked.push(`${from}-${to ?? ""}${use === undefined ? "" : ` ${use}`}`);
    if (to !== undefined && from >= size) throw new UpstreamError("range_refused", "416", { status: 416 });
    upstream.roundTrip ??= firstAnswer;
    const transfer = asked.length;
    const end = ignoresRanges || to === undefined ? size : Math.min(to, size);
    const offset = ignoresRanges ? 0 : from;
    async function* send(): AsyncGenerator<Buffer> {
      begun++;
      try {
        for (let at = offset; at < end; at += 65_536) {
          clock.advance(pace(transfer, at));
          yield blob.subarray(at, Math.min(end, at + 65_536));
        }
      } finally {
        left++;
      }
    }
    return { kind: "found", size, offset, ...(end === size ? {} : { end }), body: send() };
  };
  const segmenting = {
    concurrency,
    budget: new SegmentBudget(1e9),
    load: () => 0,
    held: () => held,
    clock: clock.read,
    pause: new ManualPause().pause,
  };
  const upstream = { name: "far", segments, spare: true, roundTrip };
  const start = () =>
    openSegmented({ upstream, open, ahead: nothingAhead, segmenting }, 0, new AbortController().signal);
  const pull = async (t: Test): Promise<string[]> => {
    const answer = await start();
    if (answer.kind !== "found") throw new Error("not found");
    const parts: Buffer[] = [];
    for await (const chunk of answer.body) parts.push(chunk);
    t.ok(Buffer.concat(parts).equals(blob.subarray(0, size)), "every byte once and in order");
    t.equal(answer.size, size);
    t.notOk("end" in answer, "the body is whole");
    return asked.splice(0);
  };
  return {
    pull,
    start,
    concurrency,
    upstream,
    get begun() {
      return begun;
    },
    get left() {
      return left;
    },
  };
}

t.test("one transfer", async (t) => {
  const cases: Record<string, Link> = {
    "over a short link": { roundTrip: 24 },
    "when the configuration says so": { segments: 1, roundTrip: 40 },
    "when several are no faster": { roundTrip: 40, known: { transfers: 1, settled: true } },
    "when one has been fast enough": { roundTrip: 40, known: { transfers: 1, settled: false } },
    "when nobody knows how long the link is": {},
  };
  for (const [name, link] of Object.entries(cases)) t.same(await setUp(link).pull(t), ["0-"], name);
});

t.test("a long link of which nothing is known: a first part, then the rest while it is fast", async (t) => {
  const far = setUp({ roundTrip: 25, pace: () => 5 });
  t.same(await far.pull(t), ["0-2097152", "2097152-8388608"]);
  t.same(await far.pull(t), ["0-"], "the next time in one");
});

t.test("a long link whose first part came as fast as TCP starts: the rest in one", async (t) => {
  const since = (at: number): number => 1000 * Math.log2(1 + at / 14_600);
  const slowStart = (_: number, at: number): number => since(at + 65_536) - since(at);
  const far = setUp({ roundTrip: 1000, pace: slowStart });
  t.same(await far.pull(t), ["0-2097152", "2097152-8388608"]);
});

t.test("a long link where the first part was slow", async (t) => {
  const far = setUp({ roundTrip: 40, pace: () => 80 });
  const asked = await far.pull(t);
  t.equal(asked[0], "0-2097152");
  t.notOk(
    asked.some((range) => range.endsWith(`-${blob.length}`) && !/^[78]/.test(range)),
    "none is cut",
  );
  t.equal(asked.filter((range) => range.endsWith("background")).length >= 3, true, asked.join(", "));
  t.same(far.concurrency.of("far"), { transfers: 4, settled: false });
  t.match(await far.pull(t), ["0-524288"], "the next time several at once");
});

t.test("a long link whose first part was held back: the rest in one, and nothing is learned", async (t) => {
  const far = setUp({ roundTrip: 40, pace: () => 80, held: true });
  t.same(await far.pull(t), ["0-2097152", "2097152-8388608"]);
  t.equal(far.concurrency.of("far"), undefined);
});

t.test("the first answer of all tells how long the link is", async (t) => {
  const slow = (_: number, at: number): number => (at < mebibyte ? 15 : 80);
  const near = setUp({ pace: slow, firstAnswer: 24 });
  t.same(await near.pull(t), ["0-"], "over a short link nobody helps");
  const far = setUp({ pace: slow, firstAnswer: 25 });
  t.ok((await far.pull(t)).length > 3);
});

t.test("a transfer that becomes slow on the way is helped", async (t) => {
  const far = setUp({ pace: (_, at) => (at < mebibyte ? 15 : 80) });
  const asked = await far.pull(t);
  t.equal(asked[0], "0-");
  t.ok(asked.length > 3, asked.join(", "));
  const alone = setUp({ pace: (_, at) => (at < mebibyte ? 15 : 80) });
  alone.upstream.spare = false;
  t.same(await alone.pull(t), ["0-"], "unless there is no connection to spare");
});

t.test("small blobs come in one piece also where several transfers help", async (t) => {
  const known = { transfers: 4, settled: true };
  t.same(await setUp({ roundTrip: 40, known, size: 524_288 }).pull(t), ["0-524288"]);
  t.same(await setUp({ roundTrip: 40, known, size: 1 }).pull(t), ["0-524288"]);
  t.same(await setUp({ roundTrip: 40, known, size: 0 }).pull(t), ["0-524288", "0-"], "416 for an empty blob");
});

t.test("an upstream that ignores ranges is asked for a part once", async (t) => {
  const far = setUp({ roundTrip: 40, ignoresRanges: true });
  t.same(await far.pull(t), ["0-2097152"]);
  t.same(await far.pull(t), ["0-"]);
});

t.test("leaving ends every transfer", async (t) => {
  const several = { roundTrip: 40, known: { transfers: 4, settled: true } };
  for (const [link, transfers] of [
    [{}, 1],
    [{ roundTrip: 40 }, 1],
    [several, 2],
  ] as const) {
    const far = setUp(link);
    const answer = await far.start();
    if (answer.kind !== "found") throw new Error("not found");
    let bytes = 0;
    for await (const chunk of answer.body) {
      bytes += chunk.length;
      if (bytes > 600_000) break;
    }
    await eventually(`all are ended: ${JSON.stringify(link)}`, () => far.left === far.begun);
    t.ok(far.begun >= transfers);
    await quiet();
    t.equal(far.left, far.begun, "and none is begun");
  }
});

t.test("a fill in segments: every byte crosses the link once, and the blob is stored", async (t) => {
  const cache = await openCache(t);
  const { upstream, clock } = cache;
  const digest = upstream.addBlob(app, blob);
  upstream.segments = 4;
  upstream.roundTrip = 40;
  upstream.chunkSize = 64 * 1024;
  upstream.transfers.push({ pace: () => clock.advance(80) });
  const opened = await found(t, cache, app, digest);
  t.ok((await readAll(opened.reader)).equals(blob));
  await fillsOver(cache);
  t.equal(upstream.bytesSent, blob.length);
  t.ok(upstream.count("GET blob") > 4, upstream.calls.join(", "));
  t.ok(await cache.store.open(digest), "it is stored");
  await nothingLeft(t, cache);
});
