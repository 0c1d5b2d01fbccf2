// What one client may have of this node at once, so that none takes what the others need: open answers, fills of blobs
// that nobody had, and writes. What is over waits in its turn (fair-queue.ts); 429 is for what is over that.
import type { FillAdmission } from "../cache/blob-cache.ts";
import type { Digest } from "../oci/digest.ts";
import type { Client } from "./client-address.ts";
import { ClientLeft, type Exchange } from "./exchange.ts";
import { type After, FairQueue, OverLimit, type Place } from "./fair-queue.ts";

export interface ClientLimits {
  /** Answers one client may have open. */
  readonly openAnswers: number;
  /** Fills of one upstream that wait for one client at once. */
  readonly coldFills: number;
  /** Writes of one client passed on to one upstream at once. */
  readonly writes: number;
  /** Requests of one client that wait for one of these, each. */
  readonly waiting: number;
}

/** What stands in the settings when nothing is set: a NAT of 500 machines that pull three layers at once is let in. */
export const defaultLimits: ClientLimits = { openAnswers: 4000, coldFills: 32, writes: 32, waiting: 4000 };

/** Milliseconds one waits for a place; HAProxy in front gives up after 310 s. */
const patience = 300_000;

/** Of what there is at an upstream, however little that is, one client leaves a quarter to the others. */
function shareOf(total: number, most: number): number {
  return Math.max(1, Math.min(most, Math.floor((total * 3) / 4)));
}

export function openAnswers({ openAnswers, waiting }: ClientLimits, after?: After): FairQueue {
  return new FairQueue({ perClient: openAnswers, waiting, patience, ...(after && { after }) });
}

/** `connections`: writes to the upstream at once, of all clients. */
export function writesTo(connections: number, { writes, waiting }: ClientLimits, after?: After): FairQueue {
  const perClient = shareOf(connections, writes);
  return new FairQueue({ perClient, total: connections, waiting, patience, ...(after && { after }) });
}

/**
 * Resolves when the place is held, or needless. Rejects with OverLimit `late`, and with ClientLeft when whoever waited
 * has given it up.
 */
export async function granted(place: Place): Promise<void> {
  const waited = await place.granted;
  if (waited === "late") throw new OverLimit("late");
  if (waited === "left") throw new ClientLeft();
}

/** The fills from one upstream that clients wait for. */
export class ColdFills {
  readonly #queue: FairQueue;
  readonly #waiting = new Map<Digest, Set<Place>>();

  /** `connections`: those to the upstream; an eighth is for small requests, as in upstream/connection/connection-gate.ts. */
  constructor(connections: number, { coldFills, waiting }: ClientLimits, after?: After) {
    const total = Math.max(1, connections - Math.ceil(connections / 8));
    const perClient = shareOf(total, coldFills);
    this.#queue = new FairQueue({ perClient, total, waiting, patience, ...(after && { after }) });
  }

  /** For one request; to be released when it is over. */
  admission(exchange: Pick<Exchange, "client" | "onOver">, digest: Digest): Admission {
    return new Admission(this, exchange, digest);
  }

  /** Only for Admission, as is `started`. */
  enter(client: Client): Place {
    return this.#queue.enter(client);
  }

  /** Resolves with undefined when it is worth looking again. */
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

  /** Whoever waits for a place to fill the same blob reads along instead. */
  started(digest: Digest): void {
    for (const place of this.#waiting.get(digest) ?? []) if (!place.held) place.release("needless");
  }
}

export class Admission implements FillAdmission {
  readonly #fills: ColdFills;
  readonly #exchange: Pick<Exchange, "client" | "onOver">;
  readonly #digest: Digest;
  #place: Place | undefined;
  #started = false;

  constructor(fills: ColdFills, exchange: Pick<Exchange, "client" | "onOver">, digest: Digest) {
    this.#fills = fills;
    this.#exchange = exchange;
    this.#digest = digest;
  }

  enter(): Promise<void> | undefined {
    if (this.#place?.held) return undefined;
    this.#place = this.#fills.enter(this.#exchange.client);
    return this.#place.held ? undefined : this.#wait(this.#place);
  }

  /** Its place is free again when the fill has ended, however slowly the client reads, or the client has left. */
  started(done: Promise<unknown>): void {
    const place = this.#place;
    this.#started = true;
    this.#exchange.onOver(() => place?.release());
    this.#fills.started(this.#digest);
    void done.finally(() => place?.release());
  }

  /** The blob was found some other way, or not at all: its place is of no use then. */
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
