// A blob's bytes from upstream: in one transfer as long as that is fast enough, in several at once where they are
// faster.
import { type BlobAnswer, type Clock, type Pause, type Upstream, UpstreamError } from "./ports.ts";
import type { SegmentBudget } from "./segment-line.ts";
import { Pace } from "./segment-pace.ts";
import { type KnownWidth, SegmentWidth, type SegmentWidths } from "./segment-width.ts";
import { inSegments, type OpenPart, type SegmentsOptions } from "./segments.ts";

/**
 * Milliseconds: over a shorter round trip one TCP stream recovers from lost packets before anybody notices, and what is
 * slow is something else.
 */
const longRoundTrip = 25;
/**
 * Bytes asked for first over a long link, so that what several transfers are to bring need not be cut off from the
 * first one: a server has sent hundreds of KiB ahead by then.
 */
const firstPart = 2 * 1024 * 1024;
/** The same where several transfers are known to help: they should start soon. */
const shortFirstPart = 512 * 1024;

/** What all fills have in common. */
export interface Segmenting {
  readonly widths: SegmentWidths;
  readonly budget: SegmentBudget;
  /** Share of the time since the last call in which the event loop was busy, 0 to 1. */
  readonly load: () => number;
  readonly clock: Clock;
  readonly pause: Pause;
}

export interface SegmentedBlob {
  readonly upstream: Pick<Upstream, "name" | "segments" | "spare" | "roundTrip">;
  readonly open: OpenPart;
  readonly segmenting: Segmenting;
}

/**
 * The bytes of a blob from `from` on, as `open` gives them; rejects as it does. The body may come in segments: in order
 * and each byte once, as from one transfer.
 */
export async function openSegmented(
  blob: SegmentedBlob,
  from: number,
  signal: AbortSignal,
): Promise<BlobAnswer> {
  const { upstream, open, segmenting } = blob;
  const { name, segments } = upstream;
  const known = segmenting.widths.of(name);
  const alone = segments === 1 || (known?.settled === true && known.width === 1);
  const isShort = () => upstream.roundTrip !== undefined && upstream.roundTrip < longRoundTrip;
  if (alone || isShort()) return await open(from, signal, {});
  const several = known !== undefined && known.width > 1;
  const first = several ? shortFirstPart : firstPart;
  const inParts = several || (known === undefined && upstream.roundTrip !== undefined);
  const answer = await (inParts ? openPart(open, from, from + first, signal) : open(from, signal, {}));
  if (answer.kind !== "found" || answer.size === undefined || answer.offset !== from) return answer;
  // The first answer of all tells how long the link is.
  if (!inParts && isShort()) return answer;
  const { end, size, ...found } = answer;
  const begun: Begun = { blob, body: answer.body[Symbol.asyncIterator](), size, signal };
  if (!inParts) return { ...found, size, body: watched(begun, from) };
  if (end === undefined) {
    if (size > from + first) segmenting.widths.learn(name, { width: 1, settled: true });
    return answer;
  }
  const width = widthOf(begun, several ? known : new Pace(segmenting.clock, segmenting.load));
  return { ...found, size, body: inSegments(segmentsOf(begun, width), from, begun.body, end) };
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

interface Begun {
  readonly blob: SegmentedBlob;
  readonly body: AsyncIterator<Buffer>;
  readonly size: number;
  readonly signal: AbortSignal;
}

/** One transfer, until it proves slow. */
async function* watched(begun: Begun, from: number): AsyncGenerator<Buffer> {
  const { blob, body, size } = begun;
  const { clock, load } = blob.segmenting;
  const pace = new Pace(clock, load);
  let at = from;
  let ours = true;
  try {
    for (;;) {
      const step = await body.next();
      if (step.done) return;
      at += step.value.length;
      yield step.value;
      if (!pace.slow(step.value.length, size - at) || !blob.upstream.spare) continue;
      ours = false;
      const width = widthOf(begun, pace);
      width.widen();
      yield* inSegments(segmentsOf(begun, width), at, body, size);
      return;
    }
  } finally {
    if (ours) await body.return?.();
  }
}

function widthOf({ blob }: Begun, start: KnownWidth | Pace): SegmentWidth {
  const { upstream, segmenting } = blob;
  const { widths, clock } = segmenting;
  const { name, segments: max } = upstream;
  const learnt = (known: KnownWidth): void => widths.learn(name, known);
  return new SegmentWidth({ max, clock, learnt }, start);
}

function segmentsOf({ blob, size, signal }: Begun, width: SegmentWidth): SegmentsOptions {
  const { upstream, open, segmenting } = blob;
  const { budget, pause } = segmenting;
  return { open, upstream, size, width, budget, pause, signal };
}
