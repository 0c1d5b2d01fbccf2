// A bounded number of places for each client, and of all; who finds none waits. What becomes free goes to the clients
// that wait in turn, whichever of them waits with more: one cannot keep the others out, nor be kept out by them.
import type { Client } from "./client-address.ts";

export interface FairQueueOptions {
  /** Places one client may have at once; whoever is exempt may have any number. */
  readonly perClient: number;
  /** Places there are; left out: as many as the clients may have. */
  readonly total?: number;
  /** Requests of one client that may wait. */
  readonly waiting: number;
  /** Milliseconds one waits at most. */
  readonly patience: number;
  /** Calls back once, after so many milliseconds, unless taken back by what it returns; timers of Node when left out. */
  readonly after?: After;
}

export type After = (milliseconds: number, call: () => void) => () => void;

/**
 * How waiting has ended: with the place; because time was up; because whoever waited gave up; because what the place
 * was for is there without it.
 */
export type Waited = "held" | "late" | "left" | "needless";

/** Why a request does not get its place. */
export class OverLimit extends Error {
  /** `too_many`: as many of the client wait as may; `late`: it has waited as long as it may. */
  readonly code: "too_many" | "late";

  constructor(code: OverLimit["code"]) {
    super(`no place for another request (${code})`);
    this.name = "OverLimit";
    this.code = code;
  }
}

/** Shares up to this many are kept for their clients' next requests: making one costs more than all the rest here. */
const kept = 1000;

interface Share {
  readonly network: string;
  most: number;
  held: number;
  /** In the order they came; undefined before the first. */
  waiting: Set<Place> | undefined;
}

export class FairQueue {
  readonly #options: FairQueueOptions;
  readonly #total: number;
  /** Of clients that hold a place or wait for one, and of `kept` others at most. */
  readonly #shares = new Map<string, Share>();
  /** Those who wait and may have one more, in their turn. */
  readonly #turns = new Set<Share>();
  #held = 0;

  constructor(options: FairQueueOptions) {
    this.#options = options;
    this.#total = options.total ?? Number.POSITIVE_INFINITY;
  }

  /** A place, held or waiting. Throws OverLimit `too_many`. Whoever gets one releases it. */
  enter({ network, exempt }: Client): Place {
    const most = exempt ? Number.POSITIVE_INFINITY : this.#options.perClient;
    let share = this.#shares.get(network);
    if (share === undefined) {
      share = { network, most, held: 0, waiting: undefined };
      this.#shares.set(network, share);
    }
    const waiting = share.waiting?.size ?? 0;
    // Of one /64 some may be exempt: whoever came first while there was none decides for the others.
    if (share.held === 0 && waiting === 0) share.most = most;
    const free = waiting === 0 && share.held < share.most && this.#held < this.#total;
    if (!free && waiting >= this.#options.waiting) throw new OverLimit("too_many");
    const place = new Place(this, share);
    if (free) {
      place.held = true;
      share.held += 1;
      this.#held += 1;
    } else {
      share.waiting ??= new Set();
      share.waiting.add(place);
      if (share.held < share.most) this.#turns.add(share);
      place.waits(this.#options.after ?? timer, this.#options.patience);
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
      if (share.held === 0 && this.#shares.size > kept) this.#shares.delete(share.network);
    } else if (share.held < share.most) this.#turns.add(share);
    if (this.#turns.size > 0) this.#handOut();
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
      // At the end: the others come first. A set is gone through to its end, also to what was added meanwhile.
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

  /** Gives it back, or waits no longer for it: `granted` then resolves with `why`. Idempotent. */
  release(why: Exclude<Waited, "held"> = "left"): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue.leave(this, this.#share);
    this.held = false;
    this.#end(why);
  }

  /** Only for the queue, as is `grant`. */
  waits(after: After, patience: number): void {
    const stop = after(patience, () => this.release("late"));
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

function timer(milliseconds: number, call: () => void): () => void {
  const running = setTimeout(call, milliseconds);
  return () => clearTimeout(running);
}
