// The clients that read a fill, and how far each has got.
import type { ByteRange } from "../../oci/range.ts";
import type { BlobReader, Lent, Spooled } from "../../ports/blobs.ts";
import { isBackground, type RemoteRepository } from "../../ports/upstream.ts";
import type { RangePlan } from "./range-plan.ts";

/** What a follower does to its fill. */
export interface Followed {
  read(follower: Follower, position: number, scratch: Buffer): Promise<Buffer>;
  lend(follower: Follower, position: number, max: number): Promise<Lent | undefined> | undefined;
  arrived(follower: Follower, position: number): Promise<void>;
  spooled(follower: Follower): Promise<Spooled | undefined>;
  /** See BlobReader.expect. */
  plan(ranges: readonly ByteRange[]): RangePlan | undefined;
  leave(follower: Follower): void;
}

/** One client's place in a fill. */
export class Follower implements BlobReader {
  /** Everything before it has been taken. */
  position = 0;
  /** Too slow for the others, which had to wait for it. */
  dropped = false;
  /** Its client is sent the bytes from the file of the spool. */
  readsSpool = false;
  /** By whose right it reads; undefined: by none that upstream has to know of. */
  readonly remote: RemoteRepository | undefined;
  /** Which ranges it reads; undefined: all of the blob. */
  plan: RangePlan | undefined;
  readonly read: BlobReader["read"];
  readonly lend: NonNullable<BlobReader["lend"]>;
  readonly arrived: NonNullable<BlobReader["arrived"]>;
  readonly spooled: NonNullable<BlobReader["spooled"]>;
  readonly expect: NonNullable<BlobReader["expect"]>;
  readonly close: BlobReader["close"];

  constructor({ read, lend, arrived, spooled, plan, leave }: Followed, remote?: RemoteRepository) {
    this.remote = remote;
    this.read = (position, scratch) => read(this, position, scratch);
    this.lend = (position, max) => lend(this, position, max);
    this.arrived = (position) => arrived(this, position);
    this.spooled = () => spooled(this);
    this.expect = (ranges) => {
      this.plan = plan(ranges);
    };
    this.close = async () => leave(this);
  }
}

export class Followers {
  readonly #all = new Set<Follower>();
  readonly #received: () => number;
  /** How far the fill had got when its last follower left; undefined while there is one, or has never been one. */
  #leftAt: number | undefined;
  #unattended = 0;

  /** `received`: how far the fill has got. */
  constructor(received: () => number) {
    this.#received = received;
  }

  /** Bytes that came after every follower had left. */
  get unattended(): number {
    return this.#unattended + (this.#leftAt === undefined ? 0 : this.#received() - this.#leftAt);
  }

  get size(): number {
    return this.#all.size;
  }

  /** Whether the client of one is sent what is in the file of the spool, and waits for what is not. */
  get readSpool(): boolean {
    for (const { readsSpool } of this.#all) if (readsSpool) return true;
    return false;
  }

  /** Whether all have left. Before the first one has come they have not. */
  get gone(): boolean {
    return this.#leftAt !== undefined;
  }

  /** Whether nobody waits for the bytes: all have left, or those that are there work for no caller. */
  get unawaited(): boolean {
    if (this.#all.size === 0) return this.gone;
    for (const { remote } of this.#all) if (remote === undefined || !isBackground(remote)) return false;
    return true;
  }

  /** The rights by which they read. */
  get remotes(): readonly RemoteRepository[] {
    return [...this.#all].flatMap(({ remote }) => remote ?? []);
  }

  /** Whether a client is still there. One that waits for bytes may have left without its follower having heard of it. */
  get attended(): boolean {
    for (const { remote } of this.#all) if (remote?.registry.caller?.waits !== false) return true;
    return false;
  }

  add(follower: Follower): void {
    this.#unattended = this.unattended;
    this.#leftAt = undefined;
    this.#all.add(follower);
  }

  remove(follower: Follower): void {
    this.#all.delete(follower);
    if (this.#all.size === 0) this.#leftAt ??= this.#received();
  }

  /** How far the slowest has got; Infinity without followers. */
  get slowest(): number {
    let slowest = Number.POSITIVE_INFINITY;
    for (const { position } of this.#all) slowest = Math.min(slowest, position);
    return slowest;
  }

  /** Where every follower is now, for `dropStalled`. */
  positions(): ReadonlyMap<Follower, number> {
    return new Map([...this.#all].map((follower) => [follower, follower.position]));
  }

  /** Drops the followers that are before `end` and have not moved since `positions` was taken. */
  dropStalled(end: number, positions: ReadonlyMap<Follower, number>): void {
    for (const follower of this.#all) {
      if (follower.position < end && positions.get(follower) === follower.position) {
        follower.dropped = true;
        this.remove(follower);
      }
    }
  }
}
