// A blob's bytes from upstream: what is asked for first, and whether more transfers may then help.
import type { Clock, Pause } from "../../ports/clock.ts";
import { type Upstream, UpstreamError } from "../../ports/upstream.ts";
import type { BlobAnswer } from "../../ports/upstream-answer.ts";
import type { Ahead } from "../fill/pieces.ts";
import { BlobConcurrency, type LearnedConcurrency, type UpstreamConcurrency } from "./concurrency.ts";
import type { SegmentBudget } from "./segment-queue.ts";
import { inSegments, type OpenPart, type SegmentsOptions } from "./segments.ts";

/**
 * Milliseconds: over a shorter round trip one TCP stream recovers from lost packets quickly, and if it is slow the reason
 * is another one.
 */
const longRoundTrip = 25;
/**
 * Bytes asked for first over a long link. When several transfers are to bring the rest, the first one then ends by itself:
 * cut off, it would lose the hundreds of KiB its server has sent ahead.
 */
const firstPart = 2 * 1024 * 1024;
/** The same where several transfers are known to help: they should start soon. */
const shortFirstPart = 512 * 1024;

/** What the segments of all fills share. */
export interface Segmenting {
  readonly concurrency: UpstreamConcurrency;
  readonly budget: SegmentBudget;
  /** Share of the time since the last call in which the event loop was busy, 0 to 1. */
  readonly load: () => number;
  /** Of the one fill: whether this node has held its bytes back since the last call; left out: it never does. */
  readonly held?: (() => boolean) | undefined;
  readonly clock: Clock;
  readonly pause: Pause;
}

export interface SegmentedBlob {
  readonly upstream: Pick<Upstream, "name" | "segments" | "spare" | "roundTrip">;
  readonly open: OpenPart;
  readonly ahead: Ahead;
  readonly segmenting: Segmenting;
}

/**
 * The bytes of a blob from `from` on, as `open` gives them; rejects as it does. The body may come in segments: in order
 * and each byte once, as from one transfer. It may end where `ahead` says that others bring the next ones.
 */
export async function openSegmented(
  blob: SegmentedBlob,
  from: number,
  signal: AbortSignal,
): Promise<BlobAnswer> {
  const { upstream, open, ahead, segmenting } = blob;
  const learned = segmenting.concurrency.of(upstream.name);
  const to = ahead.partEnd(from);
  const ask = to === undefined ? {} : { to };
  ahead.asked(to ?? from);
  if (upstream.segments === 1 || isShort(upstream) || (learned?.settled && learned.transfers === 1))
    return await open(from, signal, ask);
  const firstOf = firstPartOver(upstream, learned);
  if (firstOf !== undefined) {
    const part = Math.min(firstOf, ahead.limit(from) - from);
    ahead.asked(from + part);
    const answer = await openPart(open, from, from + part, signal);
    return segmented(blob, learned, answer, { from, part, signal });
  }
  const answer = await open(from, signal, ask);
  // The first answer of all has told how long the round trip is.
  return isShort(upstream) ? answer : segmented(blob, learned, answer, { from, signal });
}

function isShort({ roundTrip }: SegmentedBlob["upstream"]): boolean {
  return roundTrip !== undefined && roundTrip < longRoundTrip;
}

/** Bytes asked for first; undefined: all, where one transfer was fast enough or the round trip is not known yet. */
function firstPartOver(
  { roundTrip }: SegmentedBlob["upstream"],
  learned: LearnedConcurrency | undefined,
): number | undefined {
  if (learned !== undefined) return learned.transfers > 1 ? shortFirstPart : undefined;
  return roundTrip === undefined ? undefined : firstPart;
}

/** An empty blob has no first part. */
async function openPart(open: OpenPart, from: number, to: number, signal: AbortSignal): Promise<BlobAnswer> {
  try {
    return await open(from, signal, { to });
  } catch (error) {
    if (from > 0 || !(error instanceof UpstreamError) || error.code !== "range_refused") throw error;
    return await open(from, signal, {});
  }
}

interface Asked {
  readonly from: number;
  /** Bytes; left out: all there are. */
  readonly part?: number;
  readonly signal: AbortSignal;
}

/** The same answer with a body that several transfers may bring, if there is more than a first part. */
function segmented(
  { upstream, open, ahead, segmenting }: SegmentedBlob,
  learned: LearnedConcurrency | undefined,
  answer: BlobAnswer,
  { from, part, signal }: Asked,
): BlobAnswer {
  if (answer.kind !== "found" || answer.size === undefined || answer.offset !== from) return answer;
  if (answer.doubt !== undefined) return answer;
  const { end, size, ...found } = answer;
  if (size - from <= (part ?? firstPart)) return answer;
  const { budget, load, held, clock, pause } = segmenting;
  const learn = (now: LearnedConcurrency): void => segmenting.concurrency.learn(upstream.name, now);
  if (part !== undefined && end === undefined) {
    // It ignores ranges.
    learn({ transfers: 1, settled: true });
    return answer;
  }
  const { segments: max, roundTrip } = upstream;
  const concurrency = new BlobConcurrency({ max, roundTrip, clock, load, held, learn }, learned);
  const body = answer.body[Symbol.asyncIterator]();
  const options = { open, upstream, size, ahead, concurrency, budget, pause, signal };
  return {
    ...found,
    size,
    body: end === undefined ? watched(options, from, body) : inSegments(options, from, body, end),
  };
}

/** The whole in one transfer, until that proves slow. Chunks are handed on as they come: segments cost time for each. */
async function* watched(
  options: SegmentsOptions,
  from: number,
  body: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer> {
  const { size, concurrency } = options;
  let at = from;
  try {
    while (concurrency.now === 1) {
      const step = await body.next();
      if (step.done) {
        concurrency.end();
        return;
      }
      at += step.value.length;
      concurrency.note(step.value.length, 1, size - at);
      yield step.value;
    }
    yield* inSegments(options, at, body, size);
  } finally {
    await body.return?.();
  }
}
