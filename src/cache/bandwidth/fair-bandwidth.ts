// Callers share what an upstream sends equally, however many transfers each of them has: TCP alone would give each
// transfer the same. It works by holding transfers back (TCP's window closes, and upstream sends to the others) of callers
// that get more than their share, while another caller gets less than its share and more the more is left to it. How much
// each may have is in fair-shares.ts; this is who the callers are, what they get, and how their transfers are held.
//
// The bytes of a fill count for all who follow it, in equal parts, and it is held only when all of them get too much. One
// that nobody follows any more counts for who left last. One whose owners all have a bound of their own (Pace) keeps to that of
// the first besides.
import type { Clock } from "../../ports/clock.ts";
import type { OnBehalfOf, Pace, Pacer } from "../../ports/upstream.ts";
import { FairShares, newcomer, note, type ShareTaker } from "./fair-shares.ts";

/** Milliseconds between two times held transfers are let go on. */
const tick = 20;
/** Milliseconds over which what callers get is measured. */
const interval = 250;
/** What a held caller may have at once, in milliseconds of its rate; one chunk (64 KiB at most) may go beyond. */
const burst = 50;
/** Milliseconds after which a transfer has a turn before all others: registries end connections that take nothing. */
const longestWait = 10_000;
/** Milliseconds after which nobody is held for a caller that has left: pulls fetch one blob after the other. */
const grace = 500;
/** Milliseconds for which a caller without transfers is remembered. */
const remembered = 2_000;

/** Calls `call` every so many milliseconds until the returned function is called. */
export type Every = (milliseconds: number, call: () => void) => () => void;

/** Work without a caller: all of it together is one. */
const background: OnBehalfOf = { key: "", exempt: false };

interface Caller extends ShareTaker {
  readonly key: string;
  /** Fills with transfers under way that count for it. */
  fills: number;
  /** When the last of them ended. */
  leftAt: number;
  /** Bytes since the last measurement. */
  bytes: number;
  /** Bytes it may have now, where it is held; what is owed when negative. */
  credit: number;
}

/** What one upstream sends, shared by callers: no more are known than follow fills, or have until 2 s ago. */
export class FairBandwidth {
  readonly #clock: Clock;
  readonly #every: Every;
  readonly #callers = new Map<string, Caller>();
  /** Fills with transfers under way. */
  readonly #uses = new Set<BandwidthUse>();
  /** Transfers that wait: no more than there are. */
  readonly #waiting = new Set<PacedTransfer>();
  readonly #shares = new FairShares();
  #transfers = 0;
  /** Callers with transfers under way, and when there was last another one than now. */
  #present = 0;
  #leftAt = 0;
  /** Limits are in force. */
  #holds = false;
  /** Someone has one. */
  #limited = false;
  #stop: (() => void) | undefined;
  #tickedAt = 0;
  #measuredAt = 0;

  /** `every` is Node's interval when left out. */
  constructor(clock: Clock, every: Every = nodeInterval) {
    this.#clock = clock;
    this.#every = every;
  }

  /** For one fill. */
  use(): BandwidthUse {
    return new BandwidthUse(this);
  }

  /** Only for BandwidthUse. */
  transfer(use: BandwidthUse): Pacer {
    return new PacedTransfer(this, use, ++this.#transfers);
  }

  /** Transfers held back now. */
  get held(): number {
    return this.#waiting.size;
  }

  // ---- only for BandwidthUse and PacedTransfer ----------------------------------------------------------------

  began(use: BandwidthUse): void {
    this.#uses.add(use);
  }

  ended(use: BandwidthUse): void {
    this.#settle(use);
    this.#uses.delete(use);
  }

  enter({ key, exempt }: OnBehalfOf): void {
    let caller = this.#callers.get(key);
    if (caller === undefined) {
      caller = { ...newcomer(exempt), key, fills: 0, leftAt: 0, bytes: 0, credit: 0 };
      this.#callers.set(key, caller);
    }
    caller.fills++;
    if (caller.fills > 1) return;
    this.#present++;
    if (this.#present < 2) return;
    this.#holds = true;
    if (this.#stop === undefined) this.#start();
  }

  leave(key: string): void {
    const caller = this.#callers.get(key);
    if (caller === undefined) return;
    caller.fills--;
    if (caller.fills > 0) return;
    caller.leftAt = this.#clock();
    this.#leftAt = caller.leftAt;
    this.#present--;
    if (this.#stop === undefined) this.#callers.delete(key);
  }

  /** Undefined: the bytes may be handed on. */
  hold(transfer: PacedTransfer, bytes: number): Promise<void> | undefined {
    if (!this.#holds || this.#pay(transfer.use, bytes)) {
      transfer.use.count(bytes);
      return undefined;
    }
    this.#waiting.add(transfer);
    this.#markHeld(transfer.use);
    return transfer.wait(bytes, this.#clock());
  }

  drop(transfer: PacedTransfer): void {
    this.#waiting.delete(transfer);
  }

  // ---- time ---------------------------------------------------------------------------------------------------

  #start(): void {
    this.#tickedAt = this.#clock();
    this.#measuredAt = this.#tickedAt;
    for (const use of this.#uses) use.takeBytes();
    for (const caller of this.#callers.values()) caller.bytes = 0;
    this.#stop = this.#every(tick, () => this.#tick());
  }

  #tick(): void {
    const now = this.#clock();
    if (now - this.#measuredAt >= interval) this.#measure(now);
    const elapsed = Math.max(0, now - this.#tickedAt);
    this.#tickedAt = now;
    for (const caller of this.#callers.values()) {
      const { limit } = caller;
      if (limit !== undefined) caller.credit = Math.min(caller.credit + limit * elapsed, limit * burst);
    }
    if (this.#present < 2 && now - this.#leftAt >= grace) this.#holds = false;
    this.#release();
    if (this.#callers.size > 1) return;
    this.#stop?.();
    this.#stop = undefined;
    for (const caller of this.#callers.values()) {
      Object.assign(caller, newcomer(caller.exempt));
      if (caller.fills === 0) this.#callers.delete(caller.key);
    }
  }

  #measure(now: number): void {
    let transfers = 0;
    for (const use of this.#uses) {
      this.#settle(use);
      transfers += use.transfers;
    }
    const elapsed = now - this.#measuredAt;
    this.#measuredAt = now;
    const present: Caller[] = [];
    for (const caller of this.#callers.values()) {
      if (caller.fills > 0) {
        note(caller, caller.bytes / elapsed);
        present.push(caller);
      } else if (now - caller.leftAt >= remembered) this.#callers.delete(caller.key);
      caller.bytes = 0;
    }
    this.#shares.judge(present, transfers, now);
    this.#limited = false;
    for (const caller of present) {
      caller.held = false;
      this.#limited ||= caller.limit !== undefined;
    }
    for (const { use } of this.#waiting) this.#markHeld(use);
  }

  #settle(use: BandwidthUse): void {
    const bytes = use.takeBytes();
    if (bytes === 0 || this.#stop === undefined) return;
    for (const key of use.owners) {
      const caller = this.#callers.get(key);
      if (caller !== undefined) caller.bytes += bytes / use.size;
    }
  }

  #markHeld(use: BandwidthUse): void {
    for (const key of use.owners) {
      const caller = this.#callers.get(key);
      if (caller !== undefined) caller.held = true;
    }
  }

  /** Whether the fill may have the bytes now: someone it is for is not held, or has some of its rate left. Then all pay. */
  #pay(use: BandwidthUse, bytes: number): boolean {
    if (!this.#limited) return true;
    let may = false;
    for (const key of use.owners) {
      const caller = this.#callers.get(key);
      may ||= caller?.limit === undefined || caller.credit > 0;
    }
    if (!may) return false;
    for (const key of use.owners) {
      const caller = this.#callers.get(key);
      if (caller?.limit !== undefined)
        caller.credit = Math.max(caller.credit - bytes / use.size, -caller.limit * burst - bytes);
    }
    return true;
  }

  /**
   * Lets those go on that may: the oldest first. So as many as possible go on as they would, and the windows of the others
   * are full sooner than if all were slowed down alike.
   */
  #release(): void {
    if (this.#waiting.size === 0) return;
    const overdue = this.#clock() - longestWait;
    const turn = ({ waitsSince, number }: PacedTransfer): number =>
      waitsSince <= overdue ? -1 / number : number;
    for (const transfer of [...this.#waiting].sort((a, b) => turn(a) - turn(b))) {
      if (this.#holds && !this.#pay(transfer.use, transfer.bytes)) continue;
      this.#waiting.delete(transfer);
      transfer.goOn();
    }
  }
}

/** Those one fill is for, and its transfers. */
export class BandwidthUse {
  readonly #bandwidth: FairBandwidth;
  /** By key: how many followers each has; none has the one that left last. */
  readonly #owners = new Map<string, { readonly by: OnBehalfOf; followers: number }>();
  #transfers = 0;
  #waiting = 0;
  #held = false;
  #bytes = 0;

  constructor(bandwidth: FairBandwidth) {
    this.#bandwidth = bandwidth;
  }

  /** Whether one of its transfers has waited since the last call, so that its speed says nothing of upstream. */
  takeHeld(): boolean {
    const held = this.#held;
    this.#held = this.#waiting > 0;
    return held;
  }

  /** The bound of those it is for; undefined when one of them has none. */
  get pace(): Pace | undefined {
    let first: Pace | undefined;
    for (const { by } of this.#owners.values()) {
      if (by.pace === undefined) return undefined;
      first ??= by.pace;
    }
    return first;
  }

  /** Someone follows the fill; left out: nobody in particular. The returned function, to be called once, ends that. */
  join(by: OnBehalfOf = background): () => void {
    const owner = this.#owners.get(by.key);
    if (owner !== undefined) owner.followers++;
    else {
      this.#add(by, 1);
      for (const [key, { followers }] of this.#owners) {
        if (followers === 0) this.#remove(key);
        else break;
      }
    }
    return () => this.#left(by.key);
  }

  /** For one transfer. */
  transfer(): Pacer {
    return this.#bandwidth.transfer(this);
  }

  // ---- only for FairBandwidth and PacedTransfer ---------------------------------------------------------------

  /** Keys of those it is for. */
  get owners(): IterableIterator<string> {
    return this.#owners.keys();
  }

  get size(): number {
    return this.#owners.size;
  }

  /** Under way. */
  get transfers(): number {
    return this.#transfers;
  }

  began(): void {
    this.#transfers++;
    if (this.#owners.size === 0) this.#add(background, 0);
    if (this.#transfers > 1) return;
    this.#bandwidth.began(this);
    for (const { by } of this.#owners.values()) this.#bandwidth.enter(by);
  }

  ended(): void {
    this.#transfers--;
    if (this.#transfers > 0) return;
    this.#bandwidth.ended(this);
    for (const key of this.#owners.keys()) this.#bandwidth.leave(key);
  }

  count(bytes: number): void {
    this.#bytes += bytes;
  }

  takeBytes(): number {
    const bytes = this.#bytes;
    this.#bytes = 0;
    return bytes;
  }

  waits(change: 1 | -1): void {
    this.#waiting += change;
    this.#held = true;
  }

  #left(key: string): void {
    const owner = this.#owners.get(key);
    if (owner === undefined) return;
    owner.followers--;
    if (owner.followers === 0 && this.#owners.size > 1) this.#remove(key);
  }

  #add(by: OnBehalfOf, followers: number): void {
    this.#owners.set(by.key, { by, followers });
    if (this.#transfers > 0) this.#bandwidth.enter(by);
  }

  #remove(key: string): void {
    this.#owners.delete(key);
    if (this.#transfers > 0) this.#bandwidth.leave(key);
  }
}

class PacedTransfer implements Pacer {
  readonly #bandwidth: FairBandwidth;
  readonly use: BandwidthUse;
  /** In the order of their beginning. */
  readonly number: number;
  #begun = false;
  #over = false;
  /** Bytes that wait, and since when. */
  bytes = 0;
  waitsSince = 0;
  #goOn: (() => void) | undefined;
  /** Ends the wait for the bound of those it is for. */
  #endPace: (() => void) | undefined;

  constructor(bandwidth: FairBandwidth, use: BandwidthUse, number: number) {
    this.#bandwidth = bandwidth;
    this.use = use;
    this.number = number;
  }

  came(bytes: number): Promise<void> | undefined {
    if (this.#over) return undefined;
    if (!this.#begun) {
      this.#begun = true;
      this.use.began();
    }
    const paced = this.use.pace?.came(bytes);
    const held = this.#bandwidth.hold(this, bytes);
    return paced === undefined ? held : this.#both(paced, held);
  }

  async #both(paced: Promise<void>, held: Promise<void> | undefined): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    this.#endPace = resolve;
    this.use.waits(1);
    await Promise.race([paced, over]);
    this.use.waits(-1);
    await held;
  }

  over(): void {
    if (this.#over) return;
    this.#over = true;
    this.#endPace?.();
    this.#bandwidth.drop(this);
    this.goOn();
    if (this.#begun) this.use.ended();
  }

  wait(bytes: number, now: number): Promise<void> {
    this.bytes = bytes;
    this.waitsSince = now;
    this.use.waits(1);
    return new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  goOn(): void {
    if (this.#goOn === undefined) return;
    this.use.count(this.bytes);
    this.use.waits(-1);
    this.#goOn();
    this.#goOn = undefined;
  }
}

function nodeInterval(milliseconds: number, call: () => void): () => void {
  const running = setInterval(call, milliseconds).unref();
  return () => clearInterval(running);
}
