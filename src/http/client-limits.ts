// What one client may have of this node at the same time, so that it leaves enough to the others: open answers, fills
// of blobs that are not stored, and writes. Requests above these limits wait in turn (fair-queue.ts); above the limit
// of waiting requests the answer is 429.
import type { FillAdmission } from "../cache/blob-cache.ts";
import type { Digest } from "../oci/digest.ts";
import { ClientLeft, type Exchange } from "./exchange.ts";
import {
  type After,
  FairQueue,
  type FairQueueBounds,
  type Lender,
  OverLimit,
  type Place,
} from "./fair-queue.ts";

export interface ClientLimits {
  /** Open answers of one client. */
  readonly openAnswers: number;
  /** Fills from one upstream at the same time that one client has caused. */
  readonly coldFills: number;
  /** Writes of one client passed on to one upstream at the same time. */
  readonly writes: number;
  /** Requests of one client that wait, for each of the three. */
  readonly waiting: number;
}

/** The defaults: they let in a NAT of 500 machines that pull three layers at once. */
export const defaultLimits: ClientLimits = { openAnswers: 4000, coldFills: 32, writes: 32, waiting: 4000 };

/** Milliseconds a request waits for a place: less than the 310 s after which HAProxy in front gives up. */
const timeout = 300_000;

/** The places of one client: at most three quarters of all there are at the upstream, and at least one. */
function shareOf(total: number, most: number): number {
  return Math.max(1, Math.min(most, Math.floor((total * 3) / 4)));
}

export type AnswerLimits = Pick<ClientLimits, "openAnswers" | "waiting">;

/** The queue for answers that clients have open. */
export function openAnswers(limits: AnswerLimits, lender?: Lender): FairQueue {
  return new FairQueue({ ...answerBounds(limits), timeout, ...(lender && { lender }) });
}

export function answerBounds({ openAnswers, waiting }: AnswerLimits): FairQueueBounds {
  return { perClient: openAnswers, waiting };
}

/** The queue for writes to one upstream. `connections`: the writes of all clients at the same time. */
export function writesTo(connections: number, limits: ClientLimits, after?: After): FairQueue {
  return new FairQueue({ ...writeBounds(connections, limits), timeout, ...(after && { after }) });
}

export function writeBounds(connections: number, { writes, waiting }: ClientLimits): FairQueueBounds {
  return { perClient: shareOf(connections, writes), total: connections, waiting };
}

/** What a fill has to know of the request that causes it. */
type AdmittedExchange = Pick<Exchange, "client" | "onOver"> & Partial<Pick<Exchange, "limit">>;

/** Fills of one client at most. */
function mostFills(connections: number): number {
  return shareOf(fillPlaces(connections), Number.POSITIVE_INFINITY);
}

/** An eighth of the connections is left to small requests, as in upstream/connection/connection-gate.ts. */
function fillPlaces(connections: number): number {
  return Math.max(1, connections - Math.ceil(connections / 8));
}

function fillBounds(connections: number, { coldFills, waiting }: ClientLimits): FairQueueBounds {
  const total = fillPlaces(connections);
  return { perClient: shareOf(total, coldFills), total, waiting };
}

/** Resolves when the place is held, or not needed any more. Rejects with OverLimit `late`, and with ClientLeft. */
export async function granted(place: Place): Promise<void> {
  const waited = await place.granted;
  if (waited === "late") throw new OverLimit("late");
  if (waited === "left") throw new ClientLeft();
}

/** The places for fills from one upstream that clients have caused. */
export class ColdFills {
  readonly #queue: FairQueue;
  /** Places of one client, whatever the rules say. */
  #most: number;
  readonly #waiting = new Map<Digest, Set<Place>>();

  /** `connections`: those to the upstream. */
  constructor(connections: number, limits: ClientLimits, after?: After) {
    this.#queue = new FairQueue({ ...fillBounds(connections, limits), timeout, ...(after && { after }) });
    this.#most = mostFills(connections);
  }

  /** Other limits from now on (FairQueue.bound). */
  bound(connections: number, limits: ClientLimits): void {
    this.#queue.bound(fillBounds(connections, limits));
    this.#most = mostFills(connections);
  }

  /** For one request, to be released when that is over. */
  admission(exchange: AdmittedExchange, digest: Digest): Admission {
    return new Admission(this, exchange, digest);
  }

  /** Only for Admission, as is `started`. */
  enter({ client, limit }: AdmittedExchange): Place {
    const own = limit?.coldFills;
    return own === undefined
      ? this.#queue.enter(client)
      : this.#queue.enter({ network: own.key, exempt: false }, Math.min(own.most, this.#most));
  }

  /** Resolves when the caller should look for the blob again. Rejects as `granted` does. */
  async wait(place: Place, digest: Digest): Promise<void> {
    const waiting = this.#waiting.get(digest) ?? new Set();
    this.#waiting.set(digest, waiting.add(place));
    try {
      await granted(place);
    } finally {
      waiting.delete(place);
      if (waiting.size === 0 && this.#waiting.get(digest) === waiting) this.#waiting.delete(digest);
    }
  }

  /** Requests that wait for a place to fill the same blob need none: they follow the fill that has started. */
  started(digest: Digest): void {
    for (const place of this.#waiting.get(digest) ?? []) if (!place.held) place.release("needless");
  }
}

export class Admission implements FillAdmission {
  readonly #fills: ColdFills;
  readonly #exchange: AdmittedExchange;
  readonly #digest: Digest;
  #place: Place | undefined;
  #started = false;

  constructor(fills: ColdFills, exchange: AdmittedExchange, digest: Digest) {
    this.#fills = fills;
    this.#exchange = exchange;
    this.#digest = digest;
  }

  enter(): Promise<void> | undefined {
    if (this.#place?.held) return undefined;
    this.#place = this.#fills.enter(this.#exchange);
    return this.#place.held ? undefined : this.#wait(this.#place);
  }

  /** Frees the place when the fill has ended or the client has left. A client that reads slowly does not hold it. */
  started(done: Promise<unknown>): void {
    const place = this.#place;
    this.#started = true;
    this.#exchange.onOver(() => place?.release());
    this.#fills.started(this.#digest);
    void done.finally(() => place?.release());
  }

  /** The look-up is over. Without a fill it needs no place. */
  opened(): void {
    if (!this.#started) this.release();
  }

  /** Idempotent. */
  release(): void {
    this.#place?.release();
  }

  async #wait(place: Place): Promise<void> {
    const off = this.#exchange.onOver(() => place.release());
    try {
      await this.#fills.wait(place, this.#digest);
    } finally {
      off();
    }
  }
}
