// The bytes of one blob from upstream, in order and each of them once, however often the connection breaks: a broken
// transfer goes on by Range from the byte it reached (docs/design.md, "The way of a request").

import type { Pause } from "../../ports/clock.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import type { BlobAnswer, Refusal } from "../../ports/upstream-answer.ts";
import { Patience } from "./patience.ts";

export interface TransferOptions {
  /** Asks upstream for the bytes from an offset on. */
  readonly open: (from: number, signal: AbortSignal) => Promise<BlobAnswer>;
  /** Waited for before the first byte; `size` is undefined when upstream announces none. */
  readonly begin: (size: number | undefined, cacheStatus: string | undefined) => Promise<void>;
  /** Takes the next bytes. Upstream sends on when it resolves. */
  readonly take: (chunk: Buffer) => Promise<void>;
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

  constructor(options: TransferOptions) {
    this.#options = options;
  }

  get received(): number {
    return this.#received;
  }

  /** Bytes of the whole blob: as upstream announced, or once the end has come. */
  get size(): number | undefined {
    return this.#size;
  }

  /** Ends the connection of the transfer, which is taken up again at once from the byte it reached. */
  giveWay(): void {
    this.#attempt.abort(new Error("the connection is given to somebody who waits for one"));
  }

  /** Some bytes are here from an earlier transfer. To be called before `run`. */
  goOn(resumed: Resumed): void {
    this.#received = resumed.from;
    this.#resumed = resumed;
  }

  /**
   * Resolves when every byte has been taken, or with upstream's refusal. Rejects with UpstreamError, or with what
   * `take` rejects with.
   */
  async run(): Promise<Refusal | undefined> {
    const { open, pause, signal } = this.#options;
    const patience = new Patience();
    for (;;) {
      const attempt = new AbortController();
      this.#attempt = attempt;
      try {
        const answer = await open(this.#received, AbortSignal.any([signal, attempt.signal]));
        if (answer.kind !== "found") {
          if (!this.#begun) return answer;
          throw new UpstreamError("protocol", "upstream no longer has the blob it was sending");
        }
        if (this.#resumed !== undefined && !goesOn(answer, this.#resumed)) {
          attempt.abort(new Error("the blob upstream has is another one"));
          await this.#startOver(this.#resumed);
          continue;
        }
        this.#resumed = undefined;
        await this.#begin(answer.size, answer.cacheStatus);
        await this.#receive(answer.body, answer.offset);
        return undefined;
      } catch (error) {
        if (attempt.signal.aborted && !signal.aborted) continue;
        if (this.#resumed !== undefined && error instanceof UpstreamError && error.code === "range_refused") {
          await this.#startOver(this.#resumed);
          continue;
        }
        // What an earlier transfer brought is no progress of this one.
        const wait = patience.after(error, this.#received - (this.#resumed?.from ?? 0));
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
  async #begin(size: number | undefined, cacheStatus: string | undefined): Promise<void> {
    if (size !== undefined && size !== (this.#size ?? size)) {
      throw new UpstreamError("protocol", `upstream changed the size from ${this.#size} to ${size} bytes`);
    }
    this.#size ??= size;
    if (this.#begun) return;
    this.#begun = true;
    await this.#options.begin(size, cacheStatus);
  }

  async #receive(body: AsyncIterable<Buffer>, offset: number): Promise<void> {
    let skip = this.#received - offset;
    if (skip < 0) throw new UpstreamError("protocol", "upstream answered beyond the range asked for");
    for await (let chunk of body) {
      if (skip > 0) {
        // Upstream ignored the range and started over: what is here already is not hashed or stored twice.
        const passed = Math.min(skip, chunk.length);
        skip -= passed;
        chunk = chunk.subarray(passed);
      }
      if (chunk.length > 0) await this.#take(chunk);
    }
    if (this.#size !== undefined && this.#received < this.#size) {
      throw new UpstreamError("truncated", `upstream ended at ${this.#received} of ${this.#size} bytes`);
    }
    this.#size ??= this.#received;
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

function goesOn({ size, offset }: Extract<BlobAnswer, { kind: "found" }>, resumed: Resumed): boolean {
  return size === resumed.size && offset <= resumed.from;
}
