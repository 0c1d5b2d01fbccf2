// What followers see of a running fill: the bytes they may have, as they come, from memory or from the spool.

import { type Lent, type Spooled, StoreError } from "../../ports/blobs.ts";
import type { Condition } from "./condition.ts";
import type { Follower, Followers } from "./followers.ts";
import type { Pieces } from "./pieces.ts";
import { holdBack } from "./range-plan.ts";
import { BlobChunks, chunkSize, type SharedChunks } from "./shared-chunks.ts";
import type { Spool } from "./spool.ts";
import type { Window } from "./window.ts";

/**
 * More followers than a few are woken for every `wakeStep` bytes, or after `wakeDelay` milliseconds: woken for every
 * packet of a slow link, a hundred of them write a hundred packets for each that comes.
 */
const fewFollowers = 8;
const wakeStep = 256 * 1024;
const wakeDelay = 20;
/**
 * From so many followers on they are sent the window's own memory, and what one of them reads from the spool serves those
 * near it: when each reads for itself, those that have fallen behind cost so much that they never catch up. Fewer are
 * better off with copies, which are larger than the window's buffers.
 */
export const manyFollowers = 32;

/** How far the fill is. */
export interface FillProgress {
  readonly received: number;
  /** Size of the whole blob in bytes, when known. */
  readonly size: number | undefined;
  /** Every byte has come, and the digest is right. */
  readonly verified: boolean;
  readonly failure: Error | undefined;
}

export class FillReading {
  readonly #fill: FillProgress;
  readonly #followers: Pick<Followers, "size">;
  readonly #window: Window;
  readonly #spool: Spool;
  readonly #pieces: Pick<Pieces, "available" | "want">;
  readonly #changed: Condition;
  readonly #chunks: BlobChunks;
  readonly #wakeQueue = new WakeQueue();
  /** Bytes that had come when followers were last woken at once. */
  #wokenAt = 0;

  constructor(
    fill: FillProgress,
    followers: Pick<Followers, "size">,
    window: Window,
    spool: Spool,
    pieces: Pick<Pieces, "available" | "want">,
    changed: Condition,
    chunks: SharedChunks,
  ) {
    this.#chunks = new BlobChunks(chunks, () => followers.size);
    this.#fill = fill;
    this.#followers = followers;
    this.#window = window;
    this.#spool = spool;
    this.#pieces = pieces;
    this.#changed = changed;
  }

  /** Bytes have come: wakes followers that wait for them, now or soon. */
  wake(): void {
    const { received } = this.#fill;
    const many = this.#followers.size > fewFollowers && this.#wokenAt > 0;
    if (many && received - this.#wokenAt < wakeStep) this.#changed.notifySoon(wakeDelay);
    else {
      this.#wokenAt = received;
      this.#changed.notify();
    }
  }

  /** Bytes of a piece have come. */
  wakeForPiece(): void {
    if (this.#followers.size > fewFollowers) this.#changed.notifySoon(wakeDelay);
    else this.#changed.notify();
  }

  /** See BlobReader. Bytes in memory are copied: the fill uses the memory of its window again. */
  async read(follower: Follower, position: number, scratch: Buffer): Promise<Buffer> {
    await this.arrived(follower, position);
    const ahead = this.#ahead(follower, position);
    if (ahead > 0) return await this.#spool.read(position, scratch.subarray(0, ahead));
    const released = this.#released(follower) - position;
    const target = released < scratch.length ? scratch.subarray(0, Math.max(0, released)) : scratch;
    const copied = this.#window.copy(position, target);
    if (copied > 0 || target.length === 0) return target.subarray(0, copied);
    const spooled = Math.min(target.length, this.#spool.written - position);
    if (spooled <= 0) throw new StoreError("io", `bytes at ${position} are no longer held`);
    return await this.#spool.read(position, target.subarray(0, spooled));
  }

  /** See BlobReader. */
  lend(follower: Follower, position: number, max: number): Promise<Lent | undefined> | undefined {
    return this.#followers.size < manyFollowers ? undefined : this.#lend(follower, position, max);
  }

  async #lend(follower: Follower, position: number, max: number): Promise<Lent | undefined> {
    await this.arrived(follower, position);
    const wanted = Math.min(max, this.#released(follower) - position);
    const lent = this.#window.lend(position, wanted);
    if (lent !== undefined) return lent;
    // A chunk that the spool has in part would be read short, and again.
    const whole = (Math.floor(position / chunkSize) + 1) * chunkSize <= this.#spool.written;
    return whole ? await this.#chunks.lend(this.#spool, position, wanted) : undefined;
  }

  /** A follower has left. */
  followerLeft(): void {
    this.#chunks.readerLeft();
  }

  /** See BlobReader. */
  async arrived(follower: Follower, position: number): Promise<void> {
    follower.position = position;
    if (!this.#spool.usable) this.#changed.notify();
    while (!this.#has(follower, position)) {
      if (follower.plan !== undefined) this.#pieces.want(follower.plan, position);
      await this.#woken();
    }
  }

  /** See BlobReader. */
  async spooled(follower: Follower): Promise<Spooled | undefined> {
    while (!this.#spool.opened && this.#fill.failure === undefined) await this.#changed.notified;
    const { file, usable } = this.#spool;
    if (file === undefined || !usable) return undefined;
    follower.readsSpool = true;
    const whole = this.#fill.verified && this.#spool.written === this.#fill.received;
    return { file, whole, more: (seen) => this.#moreInSpool(follower, seen) };
  }

  async #moreInSpool(follower: Follower, seen: number): Promise<number | undefined> {
    follower.position = seen;
    for (;;) {
      if (this.#fill.failure !== undefined) throw this.#fill.failure;
      const readable = Math.min(this.#released(follower), this.#spool.written);
      if (readable > seen) return readable;
      if (!this.#spool.usable) {
        follower.readsSpool = false;
        return undefined;
      }
      await this.#woken();
    }
  }

  /** Resolves after the next change; of many followers, some in each turn of the event loop. */
  async #woken(): Promise<void> {
    await this.#changed.notified;
    if (this.#followers.size > fewFollowers) await this.#wakeQueue.turn();
  }

  /** Whether there is something to read; throws when there will not be. */
  #has(follower: Follower, position: number): boolean {
    const { failure, verified } = this.#fill;
    if (failure !== undefined) throw failure;
    if (follower.dropped) throw new StoreError("no_space", "too slow to follow a blob that cannot be stored");
    return verified || this.#released(follower) > position || this.#ahead(follower, position) > 0;
  }

  /** Bytes the follower may have of those that have come in order. */
  #released({ plan }: Follower): number {
    const { verified, received, size } = this.#fill;
    if (verified) return received;
    return Math.max(0, Math.min(received, plan?.free ?? (size ?? received) - holdBack));
  }

  /** Bytes the follower may have from `position` on that are here before the fill has reached them. */
  #ahead({ plan }: Follower, position: number): number {
    if (plan === undefined || position < this.#fill.received) return 0;
    return Math.min(this.#pieces.available(position), plan.free - position);
  }
}

/** Followers woken in one turn of the event loop. */
const wokenPerTurn = 8;

/** Wakes a few followers in each turn of the event loop: a hundred at once would hold up everything else. */
export class WakeQueue {
  #waiting: (() => void)[] = [];

  /** Resolves in the order of the calls. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) setImmediate(() => this.#wake());
    });
  }

  #wake(): void {
    const next = this.#waiting.slice(0, wokenPerTurn);
    this.#waiting = this.#waiting.slice(wokenPerTurn);
    if (this.#waiting.length > 0) setImmediate(() => this.#wake());
    for (const resolve of next) resolve();
  }
}
