// How many transfers one blob comes in at once. One TCP stream does not fill a long link that loses packets, several
// do; on a clean link they only share what one would have had. So one transfer is watched; when it is slow there are as
// many as there may be, then half as many as long as that is no slower. What comes of it is remembered for a while.

import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { Pace } from "./transfer-rate.ts";

/** Milliseconds for new transfers to get going, and over which their rate is then measured. */
const settling = 1_000;
const measuring = 1_000;
/** What will still take this many milliseconds is enough to find out whether half as many transfers do as well. */
const longEnough = 10_000;
/** Half as many have to bring this share of what all brought. */
const asGood = 0.85;
/** Milliseconds after which everything is found out anew. */
const remembered = 10 * 60_000;

/** `settled`: fewer transfers were slower. Else this number has been fast enough so far. */
export interface KnownWidth {
  readonly width: number;
  readonly settled: boolean;
}

/** What is known of each upstream. */
export class SegmentWidths {
  readonly #clock: Clock;
  readonly #notices: NoticeSink;
  readonly #known = new Map<string, { known: KnownWidth; readonly until: number }>();

  constructor(clock: Clock, notices: NoticeSink) {
    this.#clock = clock;
    this.#notices = notices;
  }

  of(upstream: string): KnownWidth | undefined {
    const entry = this.#known.get(upstream);
    return entry !== undefined && this.#clock() < entry.until ? entry.known : undefined;
  }

  learn(upstream: string, known: KnownWidth): void {
    const before = this.#known.get(upstream)?.known.width ?? 1;
    if (known.width !== before) this.#notices({ kind: "segments", upstream, width: known.width });
    this.#known.set(upstream, { known, until: this.#clock() + remembered });
  }
}

export interface SegmentWidthOptions {
  /** Most transfers at once: 2 or more. */
  readonly max: number;
  readonly clock: Clock;
  /** Share of the time since its last call in which the event loop was busy, 0 to 1. */
  readonly load: () => number;
  /** Called when more is known. */
  readonly learnt: (known: KnownWidth) => void;
}

/** The width of one blob under way. */
export class SegmentWidth {
  readonly #options: SegmentWidthOptions;
  #width = 1;
  /** While there is one transfer. */
  #pace: Pace | undefined;
  /** Since when the present width is being measured, and the bytes since it was reached. */
  #since: number | undefined;
  #from: number | undefined;
  #bytes = 0;
  /** What the next larger width brought, in bytes a millisecond. */
  #before: { readonly width: number; readonly rate: number } | undefined;

  /** Of a blob whose first transfer begins to send now. */
  constructor(options: SegmentWidthOptions, known: KnownWidth | undefined) {
    this.#options = options;
    if (known !== undefined && known.width > 1) {
      this.#width = Math.min(options.max, known.width);
      if (!known.settled) this.#measure();
    } else this.#pace = new Pace(options.clock, options.load);
  }

  get now(): number {
    return this.#width;
  }

  /** A part has come, and what comes next is asked for: the time to ask for it in several parts, if ever. */
  decide(left: number): void {
    if (this.#pace?.slowAtBest(left)) this.#widen();
    else this.#pace?.interrupt();
  }

  /** Several transfers at once are not to be had. */
  refuse(): void {
    this.#settle(1);
  }

  /** Takes note of bytes that have come; `running` transfers are under way, and `left` bytes are still to come. */
  note(bytes: number, running: number, left: number): void {
    if (this.#pace?.slow(bytes, left)) this.#widen();
    if (this.#since === undefined) return;
    const now = this.#options.clock();
    if (this.#from === undefined) {
      if (running <= this.#width && now - this.#since >= settling) this.#from = now;
      return;
    }
    this.#bytes += bytes;
    const elapsed = now - this.#from;
    if (elapsed < measuring) return;
    this.#since = undefined;
    // Without connections for the others there is nothing to compare.
    if (running === this.#width) this.#judge(this.#bytes / elapsed, left);
  }

  /** Everything has come. */
  end(): void {
    if (this.#pace !== undefined) this.#learn(1, false);
  }

  /** To as many as there may be. */
  #widen(): void {
    this.#pace = undefined;
    this.#learn(this.#options.max, false);
    this.#measure();
  }

  #judge(rate: number, left: number): void {
    const before = this.#before;
    if (before !== undefined && rate < before.rate * asGood) this.#settle(before.width);
    else if (this.#width === 1) this.#settle(1);
    else {
      if (before !== undefined) this.#learn(this.#width, false);
      if (left < rate * longEnough) return;
      this.#before = { width: this.#width, rate };
      this.#width = Math.ceil(this.#width / 2);
      this.#measure();
    }
  }

  #measure(): void {
    this.#since = this.#options.clock();
    this.#from = undefined;
    this.#bytes = 0;
  }

  #settle(width: number): void {
    this.#pace = undefined;
    this.#since = undefined;
    this.#learn(width, true);
  }

  #learn(width: number, settled: boolean): void {
    this.#width = width;
    this.#options.learnt({ width, settled });
  }
}
