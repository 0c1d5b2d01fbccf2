// One running download of one blob: upstream -> hash -> spool, with any number of followers reading behind it.
// No client and the fill share a fate: followers read at their own pace, from memory or from the spool, and the
// fill goes on when they leave. Broken transfers are resumed by Range, and the last bytes are held back until the
// digest is verified, so a wrong body is always an incomplete one (design.md, section 3).
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../oci/digest.ts";
import type { NoticeSink } from "../telemetry/event.ts";
import {
  type BlobAnswer,
  type BlobReader,
  type BlobWriter,
  type Clock,
  type Refusal,
  StoreError,
  UpstreamError,
} from "./ports.ts";
import { noticeOfStoreError } from "./store-notice.ts";
import { Window, type WindowBudget } from "./window.ts";

/** Never given to a follower before the digest is verified. */
export const holdBack = 64 * 1024;
/** Bytes collected before one write to the spool: one `write` per chunk costs twice the CPU. */
const batchSize = 1024 * 1024;
/** Attempts to go on after a broken transfer that brought less than `progress` bytes since the last one. */
const maxAttempts = 5;
const progress = 64 * 1024;
const firstPause = 100;
const longestPause = 5_000;
/** A follower that takes nothing for this long while others wait for it (no spool to read behind) is let go. */
const relayPatience = 30_000;

/** Waits; rejects when the signal aborts. Injected so that tests need no real time. */
export type Pause = (milliseconds: number, signal: AbortSignal) => Promise<void>;

export interface FillOptions {
  readonly digest: Digest;
  /** Upstream's name, for notices. */
  readonly upstream: string;
  readonly open: (from: number, signal: AbortSignal) => Promise<BlobAnswer>;
  /** A spool for a blob of `size` bytes; undefined: relay without storing. */
  readonly spool: (size: number | undefined) => Promise<BlobWriter | undefined>;
  /** Called once, after the commit and before `done` resolves. */
  readonly committed: (size: number) => void;
  readonly budget: WindowBudget;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

export type FillHead = { readonly kind: "found"; readonly size: number | undefined } | Refusal;

export class Fill {
  readonly digest: Digest;
  readonly startedAt: number;
  /** Upstream's answer: resolves with the size or a refusal, rejects with UpstreamError. */
  readonly head: Promise<FillHead>;
  /** Settles when the fill is over and the blob is committed or given up; never rejects. */
  readonly done: Promise<void>;

  readonly #options: FillOptions;
  readonly #abort = new AbortController();
  readonly #window = new Window();
  readonly #followers = new Set<Follower>();
  readonly #hash;
  readonly #head = Promise.withResolvers<FillHead>();
  #wake = Promise.withResolvers<void>();
  #writer: BlobWriter | undefined;
  #writing: Promise<void> | undefined;
  /** Set when the store failed or there is none: bytes go from the window to the followers only. */
  #relay = false;
  #size: number | undefined;
  #verified = false;
  #failure: Error | undefined;
  #over = false;

  constructor(options: FillOptions) {
    this.#options = options;
    this.digest = options.digest;
    this.startedAt = options.clock();
    this.#hash = createHash(digestAlgorithm(options.digest));
    this.head = this.#head.promise;
    this.head.catch(() => {});
    options.budget.enter();
    this.done = this.#run().finally(() => options.budget.leave());
  }

  get received(): number {
    return this.#window.end;
  }

  /** Size of the whole blob in bytes, when known. */
  get size(): number | undefined {
    return this.#size;
  }

  get followers(): number {
    return this.#followers.size;
  }

  /** Whether bytes are being kept. False once the store has failed. */
  get storing(): boolean {
    return !this.#relay;
  }

  /** Whether a new follower can still read from the first byte. */
  get joinable(): boolean {
    return this.#failure === undefined && !this.#over && this.#window.start <= this.#spooled;
  }

  /** A reader from any offset; it counts as a follower until closed. */
  follow(): BlobReader {
    const follower = new Follower(
      (position, scratch) => this.#read(follower, position, scratch),
      () => {
        this.#followers.delete(follower);
        this.#signal();
        this.#releaseWhenUnused();
      },
    );
    this.#followers.add(follower);
    return follower;
  }

  /** Ends the fill: followers fail, nothing is stored. */
  abort(reason: Error): void {
    this.#failure ??= reason;
    this.#abort.abort(reason);
    this.#signal();
  }

  // ---- followers ----------------------------------------------------------------------------------------------

  /** Bytes the spool holds. */
  get #spooled(): number {
    return this.#writer?.written ?? 0;
  }

  /** Bytes followers may have. */
  get #released(): number {
    if (this.#verified) return this.received;
    const end = this.#size ?? this.received;
    return Math.max(0, Math.min(this.received, end - holdBack));
  }

  async #read(follower: Follower, position: number, scratch: Buffer): Promise<Buffer> {
    follower.position = position;
    if (this.#relay) this.#signal();
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (follower.dropped)
        throw new StoreError("no_space", "too slow to follow a blob that cannot be stored");
      const available = Math.min(this.#released - position, scratch.length);
      if (available > 0) {
        const chunk = this.#window.at(position);
        if (chunk !== undefined) return chunk.length > available ? chunk.subarray(0, available) : chunk;
        const spooled = Math.min(available, this.#spooled - position);
        if (spooled > 0)
          return await (this.#writer as BlobWriter).read(position, scratch.subarray(0, spooled));
        throw new StoreError("io", `bytes at ${position} are no longer held`);
      }
      if (this.#verified) return scratch.subarray(0, 0);
      await this.#wake.promise;
    }
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = Promise.withResolvers<void>();
    wake.resolve();
  }

  // ---- the download -------------------------------------------------------------------------------------------

  async #run(): Promise<void> {
    try {
      const refusal = await this.#download();
      if (refusal !== undefined) return;
      this.#verify();
      await this.#commit();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#over = true;
      await this.#discard();
      this.#signal();
      this.#releaseWhenUnused();
    }
  }

  /** Fetches every byte, resuming broken transfers. Resolves with the refusal when upstream refuses at once. */
  async #download(): Promise<Refusal | undefined> {
    let attempt = 0;
    let reached = 0;
    for (;;) {
      try {
        const answer = await this.#options.open(this.received, this.#abort.signal);
        if (answer.kind !== "found") {
          if (this.received > 0)
            throw new UpstreamError("protocol", "upstream no longer has the blob it was sending");
          this.#over = true;
          this.#head.resolve(answer);
          return answer;
        }
        await this.#begin(answer.size);
        await this.#receive(answer.body, answer.offset);
        return undefined;
      } catch (error) {
        if (this.received - reached >= progress) attempt = 0;
        reached = this.received;
        attempt++;
        if (!this.#canResume(error, attempt)) throw error;
        await this.#options.pause(
          Math.min(longestPause, firstPause * 2 ** (attempt - 1)),
          this.#abort.signal,
        );
      }
    }
  }

  /** Before the first byte one more try repairs a connection upstream had closed; clients are waiting for more. */
  #canResume(error: unknown, attempt: number): boolean {
    if (!(error instanceof UpstreamError) || this.#failure !== undefined) return false;
    const { code } = error;
    if (this.received === 0) return attempt === 1 && (code === "truncated" || code === "unreachable");
    const passing =
      code === "truncated" ||
      code === "unreachable" ||
      code === "timeout" ||
      code === "server_error" ||
      code === "rate_limited";
    return passing && attempt < maxAttempts;
  }

  async #begin(size: number | undefined): Promise<void> {
    if (this.received > 0) {
      if (size !== undefined && this.#size !== undefined && size !== this.#size) {
        throw new UpstreamError("protocol", `upstream changed the size from ${this.#size} to ${size} bytes`);
      }
      return;
    }
    this.#size = size;
    this.#head.resolve({ kind: "found", size });
    if (this.#writer !== undefined) return;
    try {
      this.#writer = await this.#options.spool(size);
      this.#relay = this.#writer === undefined;
    } catch (error) {
      this.#storeFailed("create", error);
    }
  }

  async #receive(body: AsyncIterable<Buffer>, offset: number): Promise<void> {
    let skip = this.received - offset;
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
    if (this.#size !== undefined && this.received < this.#size) {
      throw new UpstreamError("truncated", `upstream ended at ${this.received} of ${this.#size} bytes`);
    }
    this.#size ??= this.received;
  }

  async #take(chunk: Buffer): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#size !== undefined && this.received + chunk.length > this.#size) {
      throw new UpstreamError("protocol", `upstream sent more than the ${this.#size} bytes it announced`);
    }
    this.#hash.update(chunk);
    this.#window.push(chunk);
    if (!this.#relay && this.received - this.#spooled >= Math.min(batchSize, this.#options.budget.share / 2))
      this.#flush();
    this.#trim();
    this.#signal();
    while (this.#window.bytes > this.#options.budget.share && this.#failure === undefined) {
      if (this.#relay) await this.#waitForFollowers();
      else if (this.#writing !== undefined) await this.#writing;
      else break;
      this.#trim();
    }
  }

  /** What is spooled may be forgotten; without a spool, what every follower has taken. */
  #trim(): void {
    if (!this.#relay) {
      this.#window.trim(this.#spooled, this.#options.budget.share);
      return;
    }
    let slowest = this.#window.end;
    for (const follower of this.#followers) slowest = Math.min(slowest, follower.position);
    if (slowest >= this.#spooled) this.#window.trim(slowest, this.#options.budget.share / 2);
  }

  /** Starts writing everything not yet spooled, unless a write is running; it then goes on by itself. */
  #flush(): void {
    const writer = this.#writer;
    if (this.#writing !== undefined || this.#relay || writer === undefined) return;
    const pending = this.#window.since(writer.written);
    if (pending.length === 0) return;
    this.#writing = writer
      .append(pending)
      .catch((error: unknown) => this.#storeFailed("append", error))
      .finally(() => {
        this.#writing = undefined;
        this.#trim();
      });
  }

  async #waitForFollowers(): Promise<void> {
    if (this.#followers.size === 0) {
      throw new StoreError("unavailable", "the blob cannot be stored and nobody is reading it");
    }
    const before = this.#window.start;
    const patience = new AbortController();
    const late = this.#options.pause(relayPatience, patience.signal).then(
      () => "late" as const,
      () => "moved" as const,
    );
    try {
      for (;;) {
        this.#trim();
        if (this.#window.start > before || this.#failure !== undefined || this.#followers.size === 0) return;
        if ((await Promise.race([late, this.#wake.promise])) === "late") break;
      }
    } finally {
      patience.abort();
    }
    for (const follower of this.#followers) {
      if (follower.position <= before) {
        follower.dropped = true;
        this.#followers.delete(follower);
      }
    }
    this.#signal();
  }

  // ---- the end ------------------------------------------------------------------------------------------------

  #verify(): void {
    const actual = this.#hash.digest("hex");
    if (actual !== digestHex(this.digest)) {
      throw new UpstreamError("digest_mismatch", `upstream sent ${actual} for ${this.digest}`);
    }
    this.#verified = true;
    this.#signal();
  }

  async #commit(): Promise<void> {
    while (!this.#relay && this.#spooled < this.received) {
      this.#flush();
      await this.#writing;
    }
    if (!this.#relay) {
      try {
        await (this.#writer as BlobWriter).commit(this.digest, this.received);
        this.#options.committed(this.received);
        this.#notice("committed");
        return;
      } catch (error) {
        this.#storeFailed("commit", error);
      }
    }
    this.#notice("not_stored");
    await this.#untilRead();
  }

  /** Without a stored blob the window is all there is: it stays until the last follower has left. */
  async #untilRead(): Promise<void> {
    while (this.#followers.size > 0 && this.#failure === undefined) await this.#wake.promise;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#head.reject(error);
    this.#abort.abort(error);
    if (this.received > 0 && !this.#verified) this.#notice("discarded");
    if (error instanceof UpstreamError && error.code === "digest_mismatch") {
      const { code, status, message } = error;
      this.#options.notices({
        kind: "upstream_error",
        upstream: this.#options.upstream,
        code,
        status,
        message,
      });
    }
  }

  #storeFailed(op: string, error: unknown): void {
    this.#relay = true;
    this.#options.notices(noticeOfStoreError(op, error));
    this.#signal();
  }

  /** Removes a spool that was not committed; abort does nothing after a commit. */
  async #discard(): Promise<void> {
    await this.#writing;
    if (this.#writer !== undefined && (this.#relay || !this.#verified)) {
      await this.#writer.abort().catch((error: unknown) => this.#storeFailed("abort", error));
    }
  }

  #releaseWhenUnused(): void {
    if (!this.#over || this.#followers.size > 0 || this.#writer === undefined) return;
    const writer = this.#writer;
    this.#writer = undefined;
    writer.release().catch((error: unknown) => this.#storeFailed("release", error));
  }

  #notice(result: "committed" | "discarded" | "not_stored"): void {
    this.#options.notices({
      kind: "fill",
      result,
      upstream: this.#options.upstream,
      digest: this.digest,
      bytes: this.received,
      durationMs: this.#options.clock() - this.startedAt,
    });
  }
}

/** One client's place in a fill. */
class Follower implements BlobReader {
  position = 0;
  dropped = false;
  readonly read: BlobReader["read"];
  readonly #leave: () => void;

  constructor(read: BlobReader["read"], leave: () => void) {
    this.read = read;
    this.#leave = leave;
  }

  async close(): Promise<void> {
    this.#leave();
  }
}
