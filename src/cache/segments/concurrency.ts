// How many transfers one blob comes in at once. One TCP stream does not fill a long link that loses packets, several
// do; on a clean link they only share what one would have had. So one transfer is watched; when it is slow there are as
// many as there may be, then half as many as long as that is no slower. The result is remembered for a while.

import type { Clock } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { TransferRate, type TransferRateOptions } from "./transfer-rate.ts";

/** Milliseconds for new transfers to get going, and over which their rate is then measured. */
const settling = 1_000;
const measuring = 1_000;
/** Half as many transfers are tried only while the rest of the blob still takes this many milliseconds. */
const longEnough = 10_000;
/** Half as many are as good when they bring this share of what all brought. */
const asGood = 0.85;
/** Milliseconds after which the result is forgotten. */
const remembered = 10 * 60_000;

/** `settled`: fewer transfers were slower. Else this number has been fast enough so far. */
export interface LearnedConcurrency {
  readonly transfers: number;
  readonly settled: boolean;
}

/** What has been learned of each upstream. */
export class UpstreamConcurrency {
  readonly #clock: Clock;
  readonly #notices: NoticeSink;
  readonly #learned = new Map<string, { learned: LearnedConcurrency; readonly until: number }>();

  constructor(clock: Clock, notices: NoticeSink) {
    this.#clock = clock;
    this.#notices = notices;
  }

  of(upstream: string): LearnedConcurrency | undefined {
    const entry = this.#learned.get(upstream);
    return entry !== undefined && this.#clock() < entry.until ? entry.learned : undefined;
  }

  learn(upstream: string, learned: LearnedConcurrency): void {
    const { transfers } = learned;
    const before = this.#learned.get(upstream)?.learned.transfers ?? 1;
    if (transfers !== before) this.#notices({ kind: "segments", upstream, width: transfers });
    this.#learned.set(upstream, { learned, until: this.#clock() + remembered });
  }
}

export interface BlobConcurrencyOptions extends TransferRateOptions {
  /** Most transfers at once: 2 or more. */
  readonly max: number;
  /**
   * Whether this node has held bytes of the blob back since the last call: then how fast they came says nothing of upstream.
   * Left out: never.
   */
  readonly held?: (() => boolean) | undefined;
  /** Called when more has been learned. */
  readonly learn: (learned: LearnedConcurrency) => void;
}

/** How many transfers one blob under way is to have. */
export class BlobConcurrency {
  readonly #options: BlobConcurrencyOptions;
  #transfers = 1;
  /** While there is one transfer. */
  #rate: TransferRate | undefined;
  /** Since when the present number is in effect and being measured; undefined: it is not measured. */
  #since: number | undefined;
  /** When the measurement began, after the transfers had got going, and the bytes since. */
  #from: number | undefined;
  #bytes = 0;
  /** Bytes have been held back. */
  #held = false;
  /** What the next larger number brought, in bytes a millisecond. */
  #before: { readonly transfers: number; readonly rate: number } | undefined;

  /** Of a blob whose first transfer begins to send now. */
  constructor(options: BlobConcurrencyOptions, learned: LearnedConcurrency | undefined) {
    this.#options = options;
    if (learned !== undefined && learned.transfers > 1) {
      this.#transfers = Math.min(options.max, learned.transfers);
      if (!learned.settled) this.#measure();
    } else this.#rate = new TransferRate(options);
  }

  get now(): number {
    return this.#transfers;
  }

  /** A part has come, and what comes next is asked for: the time to ask for it in several parts, if ever. */
  decide(left: number): void {
    if (!this.#held && this.#rate?.slowAtBest(left)) this.#raise();
    else this.#rate?.interrupt();
  }

  /** Upstream ignores ranges: it stays at one transfer. */
  refuse(): void {
    this.#settle(1);
  }

  /** Takes note of bytes that have come; `running` transfers are under way, and `left` bytes are still to come. */
  note(bytes: number, running: number, left: number): void {
    if (this.#options.held?.()) {
      this.#held = true;
      this.#rate?.interrupt();
      if (this.#since !== undefined) this.#measure();
      return;
    }
    if (this.#rate?.slow(bytes, left)) this.#raise();
    if (this.#since === undefined) return;
    const now = this.#options.clock();
    if (this.#from === undefined) {
      if (running <= this.#transfers && now - this.#since >= settling) this.#from = now;
      return;
    }
    this.#bytes += bytes;
    const elapsed = now - this.#from;
    if (elapsed < measuring) return;
    this.#since = undefined;
    // Without connections for the others there is nothing to compare.
    if (running === this.#transfers) this.#judge(this.#bytes / elapsed, left);
  }

  /** Everything has come. */
  end(): void {
    if (this.#rate !== undefined && !this.#held) this.#learn(1, false);
  }

  /** To as many as there may be. */
  #raise(): void {
    this.#rate = undefined;
    this.#learn(this.#options.max, false);
    this.#measure();
  }

  #judge(rate: number, left: number): void {
    const before = this.#before;
    if (before !== undefined && rate < before.rate * asGood) this.#settle(before.transfers);
    else if (this.#transfers === 1) this.#settle(1);
    else {
      if (before !== undefined) this.#learn(this.#transfers, false);
      if (left < rate * longEnough) return;
      this.#before = { transfers: this.#transfers, rate };
      this.#transfers = Math.ceil(this.#transfers / 2);
      this.#measure();
    }
  }

  #measure(): void {
    this.#since = this.#options.clock();
    this.#from = undefined;
    this.#bytes = 0;
  }

  #settle(transfers: number): void {
    this.#rate = undefined;
    this.#since = undefined;
    this.#learn(transfers, true);
  }

  #learn(transfers: number, settled: boolean): void {
    this.#transfers = transfers;
    this.#options.learn({ transfers, settled });
  }
}
