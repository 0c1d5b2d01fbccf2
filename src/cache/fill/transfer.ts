// The bytes of one blob from upstream, in order and each of them once, however often the connection breaks: a broken
// transfer goes on by Range from the byte it reached (docs/design.md, "The way of a request"), as long as its retry
// budget allows. Bytes that are here before their turn are passed over (pieces.ts).
import type { Clock, Pause } from "../../ports/clock.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../ports/upstream.ts";
import type { BlobAnswer, Refusal } from "../../ports/upstream-answer.ts";
import type { Pieces } from "./pieces.ts";
import { Speed } from "./speed.ts";

/** Transfers in a row that may break having brought less than `progress` bytes each. */
const maxAttempts = 5;
const progress = 64 * 1024;
/** Milliseconds before the second transfer; twice as long before each one after it, longer when upstream says so. */
const firstPause = 100;
const longestPause = 60_000;
/**
 * Milliseconds in all that a transfer waits, without progress, for an upstream that is known not to answer. The usual
 * clients have a bound of their own for a pull that stands still.
 */
const maxOutageWait = 5 * 60_000;
/** Milliseconds before such an upstream is asked again: when it is not known when the next probe is, and at least. */
const usualOutagePause = 2_000;
const shortestOutagePause = 500;

/** Errors after which the same request may succeed. */
const transient: ReadonlySet<UpstreamErrorCode> = new Set([
  "truncated",
  "unreachable",
  "timeout",
  "server_error",
  "rate_limited",
]);

/**
 * A place near this node, which is read instead of upstream, has broken off or is too slow. It is not read again for the same blob
 * (FillSource), so the transfer goes on at once, and upstream has lost no attempt by it.
 */
export class NearbyBreak extends UpstreamError {
  constructor(message: string, options?: ErrorOptions) {
    super("truncated", message, options);
    this.name = "NearbyBreak";
  }
}

/** How often, and after which pauses, a broken transfer goes on. */
export class RetryBudget {
  #attempt = 0;
  #reached = 0;
  #waited = 0;

  /**
   * Milliseconds to wait before the transfer goes on from `received` bytes, after it failed with `error`; undefined
   * to give up.
   */
  after(error: unknown, received: number): number | undefined {
    if (received - this.#reached >= progress) {
      this.#attempt = 0;
      this.#waited = 0;
    }
    this.#reached = received;
    if (!(error instanceof UpstreamError)) return undefined;
    const retryAfter = error.retryAfter === undefined ? undefined : error.retryAfter * 1000;
    if (error.code === "circuit_open" && received > 0) return this.#duringOutage(retryAfter);
    this.#attempt++;
    if (!this.#allows(error.code, received)) return undefined;
    return Math.min(Math.max(firstPause * 2 ** (this.#attempt - 1), retryAfter ?? 0), longestPause);
  }

  /** Before the first byte, one more try repairs a connection that upstream had closed; clients wait, so no more. */
  #allows(code: UpstreamErrorCode, received: number): boolean {
    if (received === 0) return this.#attempt === 1 && (code === "truncated" || code === "unreachable");
    return transient.has(code) && this.#attempt < maxAttempts;
  }

  /** Nothing was sent, so no attempt is spent; those before it were spent on an upstream that was going down. */
  #duringOutage(retryAfter: number | undefined): number | undefined {
    const wait = Math.min(Math.max(retryAfter ?? usualOutagePause, shortestOutagePause), longestPause);
    if (this.#waited + wait > maxOutageWait) return undefined;
    this.#attempt = 0;
    this.#waited += wait;
    return wait;
  }
}

/** Asks upstream for the bytes from an offset on. `attended`: a client waits for them. */
export type OpenFrom = (from: number, signal: AbortSignal, attended: boolean) => Promise<BlobAnswer>;

export interface TransferOptions {
  readonly open: OpenFrom;
  /** Whether a client waits for the bytes. */
  readonly followed: () => boolean;
  /** Waited for before the first byte; `size` is undefined when upstream announces none. `doubt`: as in BlobAnswer. */
  readonly begin: (
    size: number | undefined,
    cacheStatus: string | undefined,
    doubt: string | undefined,
  ) => Promise<void>;
  /** Takes the next bytes. Upstream sends on when it resolves. */
  readonly take: (chunk: Buffer) => Promise<void>;
  readonly pieces: Pick<Pieces, "limit" | "mayRepeat" | "handOver">;
  readonly clock: Clock;
  readonly pause: Pause;
  /** Ends the transfer. */
  readonly signal: AbortSignal;
}

/** What an earlier transfer has brought. */
export interface Resumed {
  /** Bytes that are here. */
  readonly from: number;
  /** Of the whole blob, as upstream announced then. */
  readonly size: number;
  /** Upstream does not agree, so the bytes are of no use: they come again from the first one. Never rejects. */
  readonly startOver: () => Promise<void>;
}

export class Transfer {
  readonly #options: TransferOptions;
  #attempt = new AbortController();
  #begun = false;
  #received = 0;
  /** Where it goes on from, and the size of that blob, while upstream has not agreed. */
  #resumed: Resumed | undefined;
  #size: number | undefined;
  readonly #speed: Speed;

  constructor(options: TransferOptions) {
    this.#options = options;
    this.#speed = new Speed(options.clock);
  }

  get received(): number {
    return this.#received;
  }

  /** Bytes of the whole blob: as upstream announced, or once the end has come. */
  get size(): number | undefined {
    return this.#size;
  }

  /** Bytes a millisecond that upstream sends, when known. */
  get rate(): number | undefined {
    return this.#speed.rate;
  }

  /** Milliseconds since bytes have come. */
  get silentFor(): number {
    return this.#speed.silentFor;
  }

  /** Ends the connection of the transfer, which is taken up again at once from the byte it reached. */
  giveWay(): void {
    this.#attempt.abort(new Error("the connection is given to a request that waits for one"));
  }

  /** Some bytes are here from an earlier transfer. To be called before `run`. */
  resume(resumed: Resumed): void {
    this.#received = resumed.from;
    this.#resumed = resumed;
  }

  /**
   * Resolves when every byte has been taken, or with upstream's refusal. Rejects with UpstreamError, or with what
   * `take` rejects with.
   */
  async run(): Promise<Refusal | undefined> {
    const { open, followed, pause, signal } = this.#options;
    const retries = new RetryBudget();
    for (;;) {
      const attempt = new AbortController();
      this.#attempt = attempt;
      try {
        await this.#handOver();
        if (this.#begun && this.#received === this.#size) return undefined;
        const from = this.#received;
        const either = AbortSignal.any([signal, attempt.signal]);
        const answer = await open(from, either, from === 0 || followed());
        if (answer.kind !== "found") {
          if (!this.#begun) return answer;
          throw new UpstreamError("protocol", "upstream no longer has the blob it was sending");
        }
        if (this.#resumed !== undefined && !continues(answer, this.#resumed)) {
          attempt.abort(new Error("the blob upstream has is another one"));
          await this.#startOver(this.#resumed);
          continue;
        }
        this.#resumed = undefined;
        await this.#begin(answer);
        if (await this.#receive(answer)) return undefined;
      } catch (error) {
        if (attempt.signal.aborted && !signal.aborted) continue;
        if (error instanceof NearbyBreak && !signal.aborted) continue;
        if (this.#resumed !== undefined && error instanceof UpstreamError && error.code === "range_refused") {
          await this.#startOver(this.#resumed);
          continue;
        }
        // What an earlier transfer brought is no progress of this one.
        const wait = retries.after(error, this.#received - (this.#resumed?.from ?? 0));
        if (wait === undefined) throw error;
        await pause(wait, signal);
      }
    }
  }

  async #startOver({ startOver }: Resumed): Promise<void> {
    this.#resumed = undefined;
    this.#received = 0;
    await startOver();
  }

  /** What was announced first stays: clients have been told. */
  async #begin({ size, cacheStatus, doubt }: FoundBlob): Promise<void> {
    if (size !== undefined && size !== (this.#size ?? size)) {
      throw new UpstreamError("protocol", `upstream changed the size from ${this.#size} to ${size} bytes`);
    }
    this.#size ??= size;
    if (this.#begun) return;
    this.#begun = true;
    await this.#options.begin(size, cacheStatus, doubt);
  }

  /** Whether the end of the blob has come. False where the transfer has come to a piece, or brought its part. */
  async #receive({ body, offset, end }: FoundBlob): Promise<boolean> {
    const { pieces } = this.#options;
    let skip = this.#received - offset;
    if (skip < 0) throw new UpstreamError("protocol", "upstream answered beyond the range asked for");
    let repeats = false;
    for await (const chunk of body) {
      this.#speed.note(chunk.length);
      for (let rest = chunk; rest.length > 0; ) {
        // What is here already is not hashed or stored twice: upstream ignored the range and started over, or goes on
        // through a piece.
        const passed = Math.min(skip, rest.length);
        skip -= passed;
        const part = rest.subarray(passed, passed + pieces.limit(this.#received) - this.#received);
        if (part.length > 0) await this.#take(part);
        rest = rest.subarray(passed + part.length);
        // A part that is whole ends by itself, which leaves its connection to others.
        const whole = this.#received === end && rest.length === 0;
        if (whole || pieces.limit(this.#received) > this.#received) continue;
        if (!pieces.mayRepeat(this.#received)) return false;
        skip += await this.#handOver();
        repeats = true;
      }
    }
    if (this.#size !== undefined && this.#received < this.#size) {
      // It ended at a piece, perhaps one that has been passed over meanwhile, or where its part does.
      if (repeats && skip > 0) return false;
      if (this.#received >= Math.min(end ?? this.#size, pieces.limit(this.#received))) return false;
      throw new UpstreamError("truncated", `upstream ended at ${this.#received} of ${this.#size} bytes`);
    }
    this.#size ??= this.#received;
    return true;
  }

  /** Takes what pieces have brought, or are bringing, of the bytes that are next; resolves with how many those are. */
  async #handOver(): Promise<number> {
    const from = this.#received;
    await this.#options.pieces.handOver(from, (chunk) => this.#take(chunk));
    return this.#received - from;
  }

  #take(chunk: Buffer): Promise<void> {
    const received = this.#received + chunk.length;
    if (this.#size !== undefined && received > this.#size) {
      throw new UpstreamError("protocol", `upstream sent more than the ${this.#size} bytes it announced`);
    }
    this.#received = received;
    return this.#options.take(chunk);
  }
}

type FoundBlob = Extract<BlobAnswer, { kind: "found" }>;

function continues({ size, offset }: FoundBlob, resumed: Resumed): boolean {
  return size === resumed.size && offset <= resumed.from;
}
