// A bounded number of places for each client and for all of them; a request that finds none waits. A place that becomes
// free goes to the waiting clients in turn, however many requests each of them has waiting: no client keeps the others
// out.
import type { Client } from "./client-address.ts";

export interface FairQueueBounds {
  /** Most places of one client; an exempt client may have any number. */
  readonly perClient: number;
  /** Most places of all clients together; no bound when left out. */
  readonly total?: number;
  /** Most requests of one client that wait. */
  readonly waiting: number;
}

/** Lends a client places beyond `perClient`. */
export interface Lender {
  /** A request of the client waits, and all its places are held. To be answered by `FairQueue.lend`, once. */
  readonly ask: (network: string) => void;
  readonly giveBack: (network: string, places: number) => void;
}

export interface FairQueueOptions extends FairQueueBounds {
  /** Milliseconds a request waits at most. */
  readonly timeout: number;
  /** Nobody when left out. */
  readonly lender?: Lender;
  /** Node's timers when left out. */
  readonly after?: After;
}

/** Calls `call` once after so many milliseconds, unless the returned function is called before. */
export type After = (milliseconds: number, call: () => void) => () => void;

/**
 * How waiting has ended: with the place, by the time-out, by giving up, or because the place is not needed any more.
 */
export type Waited = "held" | "late" | "left" | "needless";

/** Why a request does not get its place. */
export class OverLimit extends Error {
  /** `too_many`: too many requests of the client wait already; `late`: it has waited for too long. */
  readonly code: "too_many" | "late";

  constructor(code: OverLimit["code"]) {
    super(`no place for another request (${code})`);
    this.name = "OverLimit";
    this.code = code;
  }
}

/** Up to this many shares are kept for the next requests of their clients, because making one is the costly part. */
const kept = 1000;

/** What one client holds and waits for. */
interface Share {
  readonly network: string;
  most: number;
  /** The bounds that `most` follows. */
  bounds: FairQueueBounds;
  held: number;
  /** Places of `most` that are lent, and whether more are asked for. */
  lent: number;
  asks: boolean;
  /** In the order of their coming; undefined before the first. */
  waiting: Set<Place> | undefined;
}

export class FairQueue {
  readonly #options: FairQueueOptions;
  #bounds: FairQueueBounds;
  #total: number;
  /** Of clients that hold a place or wait for one, and of at most `kept` others. */
  readonly #shares = new Map<string, Share>();
  /** Shares that wait and may have one more place, in turn. */
  readonly #turns = new Set<Share>();
  #held = 0;

  constructor(options: FairQueueOptions) {
    this.#options = options;
    this.#bounds = options;
    this.#total = options.total ?? Number.POSITIVE_INFINITY;
  }

  /** Other bounds from now on. Places that are held stay, also above them, and so do requests that wait. */
  bound(bounds: FairQueueBounds): void {
    this.#bounds = bounds;
    this.#total = bounds.total ?? Number.POSITIVE_INFINITY;
    for (const share of this.#shares.values()) {
      share.most = bounds.perClient + share.lent;
      if ((share.waiting?.size ?? 0) > 0 && share.held < share.most) this.#turns.add(share);
    }
    this.#handOut();
  }

  /** A place, held or waiting, which the caller releases. `perClient`: of this client. Throws OverLimit `too_many`. */
  enter(
    { network, exempt }: Pick<Client, "network" | "exempt">,
    perClient: number = this.#bounds.perClient,
  ): Place {
    const bounds = this.#bounds;
    const most = exempt ? Number.POSITIVE_INFINITY : perClient;
    let share = this.#shares.get(network);
    if (share === undefined) {
      share = { network, most, bounds, held: 0, lent: 0, asks: false, waiting: undefined };
      this.#shares.set(network, share);
    }
    const waiting = share.waiting?.size ?? 0;
    // Some clients of a /64 may be exempt and others not. The first one of an empty share decides for all.
    if ((share.held === 0 && waiting === 0) || share.bounds !== bounds) {
      share.most = most + share.lent;
      share.bounds = bounds;
    }
    const free = waiting === 0 && share.held < share.most && this.#held < this.#total;
    if (!free && waiting >= bounds.waiting) throw new OverLimit("too_many");
    const place = new Place(this, share);
    if (free) {
      place.held = true;
      share.held += 1;
      this.#held += 1;
    } else {
      share.waiting ??= new Set();
      share.waiting.add(place);
      if (share.held < share.most) this.#turns.add(share);
      else this.#askFor(share);
      place.waits(this.#options.after ?? timer, this.#options.timeout);
    }
    return place;
  }

  /** Gives back a place, or takes it out of the queue. Only for Place. */
  leave(place: Place, share: Share): void {
    if (place.held) {
      share.held -= 1;
      this.#held -= 1;
    } else share.waiting?.delete(place);
    if (share.waiting === undefined || share.waiting.size === 0) {
      this.#turns.delete(share);
      if (share.lent > 0 && share.held <= share.most - share.lent) this.#giveBack(share);
      if (share.held === 0 && this.#shares.size > kept) this.#shares.delete(share.network);
    } else if (share.held < share.most) this.#turns.add(share);
    if (this.#turns.size > 0) this.#handOut();
  }

  /** The lender has so many more places for the client. */
  lend(network: string, places: number): void {
    const share = this.#shares.get(network);
    if (share !== undefined) share.asks = false;
    if (share?.waiting === undefined || share.waiting.size === 0) {
      this.#options.lender?.giveBack(network, places);
      return;
    }
    share.lent += places;
    share.most += places;
    if (share.held < share.most) this.#turns.add(share);
    this.#handOut();
    if (share.waiting.size > 0 && share.held >= share.most) this.#askFor(share);
  }

  #askFor(share: Share): void {
    const { lender } = this.#options;
    if (lender === undefined || share.asks) return;
    share.asks = true;
    lender.ask(share.network);
  }

  #giveBack(share: Share): void {
    const { lent } = share;
    share.most -= lent;
    share.lent = 0;
    this.#options.lender?.giveBack(share.network, lent);
  }

  #handOut(): void {
    for (const share of this.#turns) {
      if (this.#held >= this.#total) return;
      const [next] = share.waiting ?? [];
      this.#turns.delete(share);
      if (next === undefined) continue;
      share.waiting?.delete(next);
      share.held += 1;
      this.#held += 1;
      // Added again at the end, behind the other shares. The loop still comes to it: a Set iterates over what is added.
      if (share.waiting?.size !== 0 && share.held < share.most) this.#turns.add(share);
      next.grant();
    }
  }
}

export class Place {
  held = false;
  readonly #queue: FairQueue;
  readonly #share: Share;
  #over = false;
  #waiting:
    | {
        readonly promise: Promise<Waited>;
        readonly resolve: (waited: Waited) => void;
        readonly stop: () => void;
      }
    | undefined;

  constructor(queue: FairQueue, share: Share) {
    this.#queue = queue;
    this.#share = share;
  }

  /** Resolves with `held`, or with the reason why it never will be. */
  get granted(): Promise<Waited> {
    return this.#waiting?.promise ?? Promise.resolve(this.#over ? "left" : "held");
  }

  /** Gives the place back, or stops waiting for it: `granted` then resolves with `why`. Idempotent. */
  release(why: Exclude<Waited, "held"> = "left"): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue.leave(this, this.#share);
    this.held = false;
    this.#end(why);
  }

  /** Only for the queue, as is `grant`. */
  waits(after: After, timeout: number): void {
    const stop = after(timeout, () => this.release("late"));
    this.#waiting = { ...Promise.withResolvers<Waited>(), stop };
  }

  grant(): void {
    this.held = true;
    this.#end("held");
  }

  #end(waited: Waited): void {
    this.#waiting?.stop();
    this.#waiting?.resolve(waited);
  }
}

/** Node's. */
export function timer(milliseconds: number, call: () => void): () => void {
  const running = setTimeout(call, milliseconds);
  return () => clearTimeout(running);
}
