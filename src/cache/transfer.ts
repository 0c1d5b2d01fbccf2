// The bytes of one blob from upstream, in order and each of them once, however often the connection breaks: a broken
// transfer goes on by Range from the byte it reached (design.md, section 3).
import { type BlobAnswer, type Pause, type Refusal, UpstreamError, type UpstreamErrorCode } from "./ports.ts";

/** Transfers in a row that may break having brought less than `progress` bytes each. */
const maxAttempts = 5;
const progress = 64 * 1024;
/** Before the second transfer, in milliseconds; twice as long before each one after it. */
const firstPause = 100;

/** What may be over when we ask again. */
const passing: ReadonlySet<UpstreamErrorCode> = new Set([
  "truncated",
  "unreachable",
  "timeout",
  "server_error",
  "rate_limited",
]);

export interface TransferOptions {
  /** Asks upstream for the bytes from an offset on. */
  readonly open: (from: number, signal: AbortSignal) => Promise<BlobAnswer>;
  /** Waited for before the first byte; `size` is undefined when upstream announces none. */
  readonly begin: (size: number | undefined) => Promise<void>;
  /** Takes the next bytes. Upstream sends on when it resolves. */
  readonly take: (chunk: Buffer) => Promise<void>;
  readonly pause: Pause;
  /** Ends the transfer. */
  readonly signal: AbortSignal;
}

export class Transfer {
  readonly #options: TransferOptions;
  #begun = false;
  #received = 0;
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

  /**
   * Resolves when every byte has been taken, or with upstream's refusal. Rejects with UpstreamError, or with what
   * `take` rejects with.
   */
  async run(): Promise<Refusal | undefined> {
    const { open, pause, signal } = this.#options;
    let attempt = 0;
    let reached = 0;
    for (;;) {
      try {
        const answer = await open(this.#received, signal);
        if (answer.kind !== "found") {
          if (!this.#begun) return answer;
          throw new UpstreamError("protocol", "upstream no longer has the blob it was sending");
        }
        await this.#begin(answer.size);
        await this.#receive(answer.body, answer.offset);
        return undefined;
      } catch (error) {
        if (this.#received - reached >= progress) attempt = 0;
        reached = this.#received;
        attempt++;
        if (!this.#mayGoOn(error, attempt)) throw error;
        await pause(firstPause * 2 ** (attempt - 1), signal);
      }
    }
  }

  /** Before the first byte one more try repairs a connection upstream had closed; clients are waiting for more. */
  #mayGoOn(error: unknown, attempt: number): boolean {
    if (!(error instanceof UpstreamError)) return false;
    const { code } = error;
    if (this.#received === 0) return attempt === 1 && (code === "truncated" || code === "unreachable");
    return passing.has(code) && attempt < maxAttempts;
  }

  /** What was announced first stays: clients have been told. */
  async #begin(size: number | undefined): Promise<void> {
    if (size !== undefined && size !== (this.#size ?? size)) {
      throw new UpstreamError("protocol", `upstream changed the size from ${this.#size} to ${size} bytes`);
    }
    this.#size ??= size;
    if (this.#begun) return;
    this.#begun = true;
    await this.#options.begin(size);
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
