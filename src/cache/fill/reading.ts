// What followers see of a running fill: the bytes they may have, as they come, from memory or from the spool.

import { type Lent, StoreError } from "../../ports/blobs.ts";
import type { Condition } from "./condition.ts";
import type { Follower, Followers } from "./followers.ts";
import { BlobChunks, chunkSize, type SharedChunks } from "./shared-chunks.ts";
import type { Spool } from "./spool.ts";
import { Turnstile } from "./turnstile.ts";
import type { Window } from "./window.ts";

/** Never given to a follower before the digest is verified. */
export const holdBack = 64 * 1024;

/**
 * With more followers than a few they are told of bytes in steps, or after so many milliseconds: woken for every packet of
 * a slow link, a hundred followers write a hundred packets for each that comes.
 */
const fewFollowers = 8;
const step = 256 * 1024;
const patienceOfMany = 20;
/**
 * From so many followers on they are sent the window's own memory, and what one of them reads from the spool serves those
 * near it. A hundred of them, with 5,000 manifests a second beside them, then keep up with a link of 100 Mbit/s; when each
 * read for itself, those that fell behind cost so much that all of them stayed there: up to twice the CPU time. A few are
 * better off with copies, which are larger than the window's pieces: ten by its pieces cost a third more.
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
  readonly #changed: Condition;
  readonly #chunks: BlobChunks;
  /** Bytes followers were told of at once. */
  #told = 0;
  readonly #turnstile = new Turnstile();

  constructor(
    fill: FillProgress,
    followers: Pick<Followers, "size">,
    window: Window,
    spool: Spool,
    changed: Condition,
    chunks: SharedChunks,
  ) {
    this.#chunks = new BlobChunks(chunks, () => followers.size);
    this.#fill = fill;
    this.#followers = followers;
    this.#window = window;
    this.#spool = spool;
    this.#changed = changed;
  }

  /** Bytes have come. */
  tell(): void {
    const { received } = this.#fill;
    const many = this.#followers.size > fewFollowers && this.#told > 0;
    if (many && received - this.#told < step) this.#changed.notifySoon(patienceOfMany);
    else {
      this.#told = received;
      this.#changed.notify();
    }
  }

  /** See BlobReader. What is in memory is copied, so that the window's memory is nobody else's. */
  async read(follower: Follower, position: number, scratch: Buffer): Promise<Buffer> {
    await this.arrived(follower, position);
    const released = this.#released - position;
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
    const wanted = Math.min(max, this.#released - position);
    const lent = this.#window.lend(position, wanted);
    if (lent !== undefined) return lent;
    // A chunk that the spool has in part would be read short, and again.
    const whole = (Math.floor(position / chunkSize) + 1) * chunkSize <= this.#spool.written;
    return whole ? await this.#chunks.lend(this.#spool, position, wanted) : undefined;
  }

  /** A follower has gone. */
  left(): void {
    this.#chunks.left();
  }

  /** See BlobReader. */
  async arrived(follower: Follower, position: number): Promise<void> {
    follower.position = position;
    if (!this.#spool.usable) this.#changed.notify();
    while (!this.#has(follower, position)) {
      await this.#changed.notified;
      if (this.#followers.size > fewFollowers) await this.#turnstile.pass();
    }
  }

  /** Whether there is something to read; throws when there will not be. */
  #has(follower: Follower, position: number): boolean {
    const { failure, verified } = this.#fill;
    if (failure !== undefined) throw failure;
    if (follower.dropped) throw new StoreError("no_space", "too slow to follow a blob that cannot be stored");
    return verified || this.#released > position;
  }

  /** Bytes followers may have. */
  get #released(): number {
    const { verified, received, size } = this.#fill;
    return verified ? received : Math.max(0, Math.min(received, (size ?? received) - holdBack));
  }
}
