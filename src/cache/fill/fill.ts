// One running download of one blob: upstream -> hash -> spool, with any number of followers reading behind it. Clients
// and the fill do not depend on each other: followers read at their own speed, and the fill goes on when they leave. The
// last bytes are held back until the digest is verified, so a wrong body is always an incomplete one (docs/design.md,
// "The way of a request"). `Fills` (fills.ts) starts the fills and knows which ones run. Each fill has:
//   source.ts     where the bytes come from: the shared store, another node or upstream
//   transfer.ts   asking for them, and going on where a connection broke, within a retry budget
//   window.ts     the newest bytes in memory, in buffers of buffer-pool.ts
//   spool.ts      the file they are appended to, until it is committed to the store
//   pieces.ts     ranges far ahead that clients asked for; range-plan.ts: which of them one request may have
//   followers.ts  the clients that read, and how far each has got
//   reading.ts    what a follower is given, and when it is woken; shared-chunks.ts: one read of the spool for many
//   unverified-answers.ts  who got a part of it before the digest was known
//   condition.ts  what everything that waits for a change waits on
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/digest.ts";
import {
  type BlobReader,
  type BlobWriter,
  type KeptBlob,
  type KeptRecord,
  StoreError,
} from "../../ports/blobs.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { NoticeSink, UnverifiedAnswer } from "../../ports/event.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { currentSpan, inSpan, type Span, within } from "../../ports/tracing/span.ts";
import { type RemoteRepository, UpstreamError, type Yielding } from "../../ports/upstream.ts";
import type { BlobAnswer, Refusal } from "../../ports/upstream-answer.ts";
import type { BandwidthUse } from "../bandwidth/fair-bandwidth.ts";
import { Condition } from "./condition.ts";
import { type Followed, Follower, Followers } from "./followers.ts";
import { type Ahead, type PieceSource, Pieces } from "./pieces.ts";
import { holdBack, RangePlan } from "./range-plan.ts";
import { FillReading } from "./reading.ts";
import { Spool } from "./spool.ts";
import { Transfer } from "./transfer.ts";
import { UnverifiedAnswers } from "./unverified-answers.ts";
import { Window, type WindowBudget } from "./window.ts";

/** Bytes collected before one write to the spool: a `write` for every chunk costs much more CPU time. */
const batchSize = 1024 * 1024;
/**
 * Milliseconds bytes wait for such a write while a client is sent what is in the spool: the first of a blob less, since
 * clients wait for small blobs as a whole. Ten large ones at once that are written every 5 ms cost 7 % more CPU time.
 */
const batchDelay = { first: 5, later: 25 };
const firstBytes = 1024 * 1024;
/** Milliseconds. Without a spool all wait for the slowest follower; one that takes nothing for so long is dropped. */
const stalledFollowerTimeout = 30_000;

/**
 * A fill without followers for so many milliseconds ends when more than so many bytes have come. They are kept, and a
 * client that comes later goes on from there. Clients that retry come back within seconds (containerd waits a second,
 * docker up to 25 in all); something smaller may as well be fetched to its end.
 */
const unfollowedTime = 60_000;
const unfollowedSize = 4 * 1024 * 1024;
/** Bytes of a kept spool that are hashed between two turns of the event loop. */
const hashStep = 256 * 1024;

/** How a fill asks for its bytes. */
export interface FillAsk {
  /** A client waits for the bytes. Otherwise the request waits behind those of clients until one comes (`yields`). */
  readonly attended: boolean;
  readonly yields: Yielding;
  readonly ahead: Ahead;
}

export interface FillOptions {
  readonly digest: Digest;
  /** Upstream's name, for notices. */
  readonly upstream: string;
  readonly open: (from: number, signal: AbortSignal, ask: FillAsk) => Promise<BlobAnswer>;
  /** Where ranges far ahead come from; left out: clients wait for the fill. */
  readonly pieces?: PieceSource;
  /** It begins for a client that asks for a range. */
  readonly ranged?: boolean;
  /** A spool for a blob of `size` bytes; undefined: relay without storing. */
  readonly spool: (size: number | undefined) => Promise<BlobWriter | undefined>;
  /** Called once, after the commit and before `done` resolves. */
  readonly committed: (size: number) => void;
  /**
   * Called once, when the digest is wrong: names the places other than upstream that sent some of the bytes. Undefined,
   * or left out: none.
   */
  readonly distrust?: () => string | undefined;
  /** What an earlier fill has kept of the blob; left out: nothing. Never rejects. */
  readonly resume?: () => Promise<KeptBlob | undefined>;
  /** Whether so many bytes, all that have come, may be kept for a later fill; left out: never. */
  readonly mayKeep?: (bytes: number) => boolean;
  /** Called when the fill is over and nobody reads its bytes any more; perhaps more than once. */
  readonly unused?: (fill: Fill) => void;
  readonly budget: WindowBudget;
  /** Those who follow it share what upstream sends with others; left out: they do not. */
  readonly bandwidth?: BandwidthUse;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

/** The fill has ended for want of clients. There is none that could see this error. */
class Unfollowed extends Error {}

/** Bytes of the wrong digest, not all of them from upstream: the next try avoids the places they came from. */
export class NearbyMismatch extends UpstreamError {}

export type FillHead =
  | { readonly kind: "found"; readonly size: number | undefined; readonly cacheStatus: string | undefined }
  | Refusal;

export class Fill {
  readonly digest: Digest;
  readonly startedAt: number;
  /** Below that of the request which began the fill; undefined: nothing of it is traced. */
  readonly span: Span | undefined;
  /**
   * The answer clients may be given: resolves with the size or a refusal, rejects with UpstreamError. A blob no larger
   * than what is held back is not announced before its digest is verified, nor is one whose answer raises a doubt.
   */
  readonly head: Promise<FillHead>;
  /** Resolves when every byte has come and the digest is right; rejects when that will not be, or never settles. */
  readonly verification: Promise<void>;
  /** Settles when the fill is over and the blob is committed or given up; never rejects. */
  readonly done: Promise<void>;

  readonly #options: FillOptions;
  readonly #abort = new AbortController();
  readonly #window: Window;
  readonly #followers = new Followers(() => this.received);
  /** Notified when bytes have come, the fill is over, or a follower has moved that the fill waits for. */
  readonly #changed = new Condition();
  readonly #attendanceListeners = new Set<() => void>();
  readonly #transfer: Transfer;
  readonly #spool: Spool;
  readonly #pieces: Pieces;
  readonly #reading: FillReading;
  readonly #unverified = new UnverifiedAnswers();
  #hash;
  readonly #head = Promise.withResolvers<FillHead>();
  readonly #verification = Promise.withResolvers<void>();
  #cacheStatus: string | undefined;
  /** What upstream may be sending instead (BlobAnswer). */
  #doubt: string | undefined;
  #announced = false;
  #verified = false;
  #failure: Error | undefined;
  #stored = false;
  #over = false;
  /** The record of the bytes an earlier fill has kept, which this one goes on from. */
  #resumed: KeptRecord | undefined;
  /** How many bytes those are; 0: none. */
  #resumedFrom = 0;
  /** Ends the wait that runs while there are no followers. */
  #unfollowed: AbortController | undefined;
  #overdue = false;
  /** The fill ends, or has ended, without all the bytes; those that have come are kept if possible. */
  #keeping = false;
  /** The spool is committed, kept or thrown away. */
  #finished = false;
  /** Bytes are going to be written that are fewer than a batch. */
  #appending = false;

  constructor(options: FillOptions) {
    this.#options = options;
    this.digest = options.digest;
    this.startedAt = options.clock();
    this.#window = new Window(options.budget.buffers);
    // In this thread: a worker thread costs more CPU time and is no faster, even on two cores.
    this.#hash = createHash(digestAlgorithm(options.digest));
    this.head = this.#head.promise;
    this.head.catch(() => {});
    this.verification = this.#verification.promise;
    this.verification.catch(() => {});
    this.#spool = new Spool(options.notices, () => {
      this.#trim();
      this.#changed.notify();
    });
    this.#pieces = new Pieces({
      source: options.pieces,
      ranged: options.ranged === true,
      fill: this,
      spool: this.#spool,
      changed: () => this.#reading.wakeForPiece(),
      clock: options.clock,
      signal: this.#abort.signal,
    });
    this.#transfer = new Transfer({
      open: (from, signal, attended) => {
        this.#pieces.nothingAsked();
        return options.open(from, signal, { attended, yields: this.#yielding(), ahead: this.#pieces });
      },
      followed: () => this.#followers.size > 0,
      begin: (...head) => this.#begin(...head),
      take: (chunk) => this.#take(chunk),
      pieces: this.#pieces,
      clock: options.clock,
      pause: options.pause,
      signal: this.#abort.signal,
    });
    this.#reading = new FillReading(
      this,
      this.#followers,
      this.#window,
      this.#spool,
      this.#pieces,
      this.#changed,
      options.budget.chunks,
    );
    options.budget.enter();
    const { digest, upstream } = options;
    this.span = currentSpan()?.child("fill", { "entrepot.digest": digest, "entrepot.upstream": upstream });
    this.done = within(this.span, () => this.#run()).finally(() => options.budget.leave());
  }

  get received(): number {
    return this.#transfer.received;
  }

  /** Size of the whole blob in bytes, when known. */
  get size(): number | undefined {
    return this.#transfer.size;
  }

  /** Bytes a millisecond that come in order, when known. */
  get rate(): number | undefined {
    return this.#transfer.rate;
  }

  /** Milliseconds since bytes have come. */
  get silentFor(): number {
    return this.#transfer.silentFor;
  }

  get followers(): number {
    return this.#followers.size;
  }

  /** Bytes held in memory. */
  get held(): number {
    return this.#window.bytes;
  }

  /** Bytes the spool takes of the disk at most. */
  get spooled(): number {
    return this.#spool.extent;
  }

  /** Whether bytes are being kept. False once the store has failed, or has the blob. */
  get storing(): boolean {
    return this.#spool.usable && !this.#over;
  }

  /** Whether the store has the blob because of this fill. */
  get stored(): boolean {
    return this.#stored;
  }

  /** Whether every byte has come and the digest is right. */
  get verified(): boolean {
    return this.#verified;
  }

  /** Whether clients have been told of the blob, and of its size if upstream announced one. */
  get announced(): boolean {
    return this.#announced;
  }

  /** Whether the fill ends early and, when `done`, a later one may resume it. */
  get keeping(): boolean {
    return this.#keeping;
  }

  /** Why the fill has failed. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Whether a new follower can still read from the first byte. */
  get joinable(): boolean {
    return this.#failure === undefined && !this.#over && this.#window.start <= this.#spool.written;
  }

  /** By whose rights its followers read; undefined before the first one has come. */
  get remotes(): readonly RemoteRepository[] | undefined {
    return this.#followers.size === 0 && !this.#followers.gone ? undefined : this.#followers.remotes;
  }

  /**
   * A reader from any offset; it counts as a follower until closed. `remote`: by whose right, and on whose behalf, it reads;
   * left out: no caller's.
   */
  follow(remote?: RemoteRepository): BlobReader {
    const leave = this.#options.bandwidth?.join(remote?.onBehalfOf);
    let left = false;
    const followed: Followed = {
      read: (...asked) => this.#reading.read(...asked),
      lend: (...asked) => this.#reading.lend(...asked),
      arrived: (...asked) => this.#reading.arrived(...asked),
      spooled: (...asked) => this.#reading.spooled(...asked),
      plan: (ranges) => (this.size === undefined ? undefined : new RangePlan(ranges, this.size)),
      leave: (leaving) => {
        if (left) return;
        left = true;
        leave?.();
        this.#changeFollowers(() => this.#followers.remove(leaving));
        this.#reading.followerLeft();
        this.#changed.notify();
        this.#releaseWhenUnused();
      },
    };
    const follower = new Follower(followed, remote);
    this.#changeFollowers(() => this.#followers.add(follower));
    return follower;
  }

  #changeFollowers(change: () => void): void {
    const { size, unawaited } = this.#followers;
    change();
    if (size === 0 || this.#followers.size === 0 || this.#followers.unawaited !== unawaited)
      this.#attendanceChanged();
  }

  /** Someone is answered with a part of the blob, whose digest is not known yet. */
  answeredUnverified(answer: UnverifiedAnswer): void {
    this.#unverified.add(answer);
  }

  /** Ends the fill: followers fail, nothing is stored but what is being committed already. */
  abort(reason: Error): void {
    this.#failure ??= reason;
    this.#abort.abort(reason);
    this.#changed.notify();
  }

  // ---- attendance ---------------------------------------------------------------------------------------------

  #attendanceChanged(): void {
    for (const listener of [...this.#attendanceListeners]) listener();
    this.#unfollowed?.abort();
    this.#unfollowed = undefined;
    this.#overdue = false;
    if (this.#followers.size > 0 || this.#over || this.#verified || this.#options.mayKeep === undefined)
      return;
    const waiting = new AbortController();
    this.#unfollowed = waiting;
    this.#options.pause(unfollowedTime, waiting.signal).then(
      () => {
        this.#overdue = !waiting.signal.aborted;
        this.#endUnfollowed();
      },
      () => {},
    );
  }

  /** Ends a fill that has long had no followers, if what has come is worth keeping and can be kept. */
  #endUnfollowed(): void {
    if (!this.#overdue || this.#failure !== undefined || !this.#worthKeeping) return;
    this.#keeping = true;
    this.abort(new Unfollowed("nobody has followed the fill for a minute"));
  }

  get #worthKeeping(): boolean {
    const { received, size } = this;
    if (received <= unfollowedSize || size === undefined || received >= size || !this.#spool.usable)
      return false;
    return this.#options.mayKeep?.(received) === true;
  }

  #yielding(): Yielding {
    const followers = this.#followers;
    return {
      get unattended() {
        return followers.unawaited;
      },
      giveWay: () => this.#transfer.giveWay(),
      onChange: (listener) => {
        this.#attendanceListeners.add(listener);
        return () => this.#attendanceListeners.delete(listener);
      },
    };
  }

  // ---- the download -------------------------------------------------------------------------------------------

  async #run(): Promise<void> {
    try {
      await this.#resume();
      const refusal = await this.#transfer.run();
      if (refusal !== undefined) {
        this.#keeping = this.#untouched;
        this.#over = true;
        this.#head.resolve(refusal);
        return;
      }
      await this.#pieces.stop();
      this.#verify();
      await inSpan("disk commit", {}, () => this.#commit());
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#over = true;
      this.#unfollowed?.abort();
      await this.#pieces.stop();
      if (this.#keeping) await this.#keep();
      await this.#spool.abort();
      this.#finished = true;
      // What is left to be read is in the spool; followers may take for ever.
      this.#window.trim(this.received, 0);
      this.#changed.notify();
      this.#releaseWhenUnused();
      this.span?.set({
        "entrepot.bytes": this.received - this.#resumedFrom,
        "entrepot.stored": this.#stored,
      });
      this.span?.end(this.#failure);
    }
  }

  /** Goes on from the bytes an earlier fill has kept, if they still have the hash they had then. */
  async #resume(): Promise<void> {
    const kept = await this.#options.resume?.();
    if (kept === undefined) return;
    const { writer, record } = kept;
    const { written } = writer;
    this.#spool.resume(writer);
    this.#resumed = record;
    this.#resumedFrom = written;
    try {
      const scratch = Buffer.allocUnsafe(hashStep);
      for (let position = 0; position < written; ) {
        this.#abort.signal.throwIfAborted();
        const chunk = await writer.read(position, scratch);
        if (chunk.length === 0) throw new StoreError("corrupt", "what was kept ends early");
        this.#hash.update(chunk);
        position += chunk.length;
      }
      const actual = this.#hash.copy().digest("hex");
      if (actual !== record.hash)
        throw new StoreError("corrupt", `what was kept of ${this.digest} is something else`);
    } catch (error) {
      await this.#startOver();
      this.#abort.signal.throwIfAborted();
      this.#options.notices(noticeOfStoreError("resume", error));
      return;
    }
    this.#window.restart(written);
    this.#transfer.resume({ from: written, size: record.size, startOver: () => this.#startOver() });
  }

  /** Throws the kept bytes away. No client has been told of the blob yet. */
  async #startOver(): Promise<void> {
    this.#resumed = undefined;
    this.#resumedFrom = 0;
    this.#hash = createHash(digestAlgorithm(this.digest));
    this.#window.restart(0);
    await this.#spool.discardResumed();
  }

  /** Whether this fill has added nothing to what an earlier one kept. */
  get #untouched(): boolean {
    return this.#resumedFrom > 0 && this.#window.end === this.#resumedFrom;
  }

  /** Keeps the bytes that `#take` has accepted: when the fill was ended one more chunk may have come. */
  async #keep(): Promise<void> {
    const { digest, size } = this;
    const { upstream, mayKeep } = this.#options;
    const spool = this.#spool;
    const { end } = this.#window;
    await spool.writing;
    while (spool.usable && spool.written < end) await this.#append();
    const fresh = size === undefined ? undefined : { digest, upstream, size, hash: this.#hash.digest("hex") };
    const record = this.#untouched ? this.#resumed : fresh;
    const kept =
      record !== undefined && spool.usable && mayKeep?.(end) === true && (await spool.keep(record));
    if (end > this.#resumedFrom) this.#notice(kept ? "resumable" : "not_stored");
  }

  async #begin(
    size: number | undefined,
    cacheStatus: string | undefined,
    doubt: string | undefined,
  ): Promise<void> {
    this.#cacheStatus = cacheStatus;
    this.#doubt = doubt;
    if (size !== undefined && size > holdBack) this.#announce();
    // The kept spool is in use already.
    if (this.#resumedFrom > 0) return;
    await this.#spool.open(() => this.#options.spool(size));
  }

  #announce(): void {
    if (this.#announced || (this.#doubt !== undefined && !this.#verified)) return;
    this.#announced = true;
    this.#head.resolve({ kind: "found", size: this.size, cacheStatus: this.#cacheStatus });
  }

  async #take(chunk: Buffer): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#hash.update(chunk);
    this.#window.push(chunk);
    if (this.received > holdBack) this.#announce();
    const spool = this.#spool;
    const batch = Math.min(batchSize, this.#options.budget.share / 2);
    if (spool.usable && spool.writing === undefined && this.received - spool.written >= batch)
      void this.#append();
    else if (spool.usable && !this.#appending && this.#followers.readSpool) void this.#appendSoon();
    this.#trim();
    this.#reading.wake();
    if (this.#overdue) this.#endUnfollowed();
    while (this.#window.bytes > this.#options.budget.share && this.#failure === undefined) {
      if (spool.usable) await (spool.writing ?? this.#append());
      else await this.#waitForFollowers();
      this.#trim();
    }
  }

  /** Everything not yet spooled, in one write. */
  #append(): Promise<void> {
    return this.#spool.append(this.#window.since(this.#spool.written));
  }

  /** Writes a part of a batch, for clients that wait for it. */
  async #appendSoon(): Promise<void> {
    this.#appending = true;
    const spool = this.#spool;
    const delay = this.received < firstBytes ? batchDelay.first : batchDelay.later;
    await this.#options.pause(delay, this.#abort.signal).catch(() => {});
    while (spool.writing !== undefined) await spool.writing;
    this.#appending = false;
    if (this.#over || this.#verified || this.#failure !== undefined) return;
    if (spool.usable && spool.written < this.received) await this.#append();
  }

  /** Forgets what is spooled; without a spool, what every follower has taken. */
  #trim(): void {
    const { share } = this.#options.budget;
    const { usable, written } = this.#spool;
    if (usable) this.#window.trim(written, share);
    else if (this.#followers.size > 0)
      this.#window.trim(Math.max(written, this.#followers.slowest), share / 2);
  }

  /** Resolves when the oldest bytes can be forgotten; followers that take nothing for too long are dropped. */
  async #waitForFollowers(): Promise<void> {
    if (this.#followers.size === 0) {
      throw new StoreError("unavailable", "the blob cannot be stored and nobody is reading it");
    }
    const oldest = this.#window.start;
    const positions = this.#followers.positions();
    const moved = () => {
      this.#trim();
      return this.#window.start > oldest || this.#failure !== undefined || this.#followers.size === 0;
    };
    if (await this.#changed.within(stalledFollowerTimeout, this.#options.pause, moved)) return;
    this.#followers.dropStalled(oldest + 1, positions);
    this.#changed.notify();
  }

  // ---- the end ------------------------------------------------------------------------------------------------

  #verify(): void {
    const actual = this.#hash.digest("hex");
    if (actual !== digestHex(this.digest)) {
      const nearby = this.#options.distrust?.();
      const instead = this.#doubt === undefined ? "" : `: it ${this.#doubt}`;
      const message = `${nearby ?? "upstream"} sent ${actual} for ${this.digest}${instead}`;
      if (nearby === undefined) throw new UpstreamError("digest_mismatch", message);
      throw new NearbyMismatch("digest_mismatch", message);
    }
    this.#verified = true;
    this.#announce();
    this.#verification.resolve();
    this.#changed.notify();
  }

  async #commit(): Promise<void> {
    const spool = this.#spool;
    while (spool.usable && spool.written < this.received) await (spool.writing ?? this.#append());
    if (spool.usable && (await spool.commit(this.digest, this.received))) {
      // From here on requests find it in the store.
      this.#over = true;
      this.#stored = true;
      this.#options.committed(this.received);
      this.#notice("committed");
      return;
    }
    this.#notice("not_stored");
    await this.#untilRead();
  }

  /** Without a stored blob the window is all there is: it stays until the last follower has left. */
  async #untilRead(): Promise<void> {
    while (this.#followers.size > 0 && this.#failure === undefined) await this.#changed.notified;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#head.reject(this.#failure);
    this.#verification.reject(this.#failure);
    this.#abort.abort(error);
    this.#changed.notify();
    // Nobody is there any more by whose right upstream could be asked for the rest.
    const abandoned = !this.#followers.attended && error instanceof UpstreamError && error.code === "auth";
    if (this.#untouched || (abandoned && this.#worthKeeping)) this.#keeping = true;
    if (this.received > 0 && !this.#verified && !this.#keeping) this.#notice("discarded");
    if (error instanceof UpstreamError && error.code === "digest_mismatch") {
      const { notices, upstream } = this.#options;
      const { code, status, message } = error;
      this.#unverified.report(upstream, this.digest, notices);
      if (error instanceof NearbyMismatch)
        notices({ kind: "store_error", op: "nearby", code: "io", message });
      else notices({ kind: "upstream_error", upstream, code, status, message });
    }
  }

  #releaseWhenUnused(): void {
    if (!this.#finished || this.#followers.size > 0) return;
    this.#spool.release();
    this.#options.unused?.(this);
  }

  #notice(result: "committed" | "discarded" | "not_stored" | "resumable"): void {
    const { notices, upstream, clock } = this.#options;
    const { digest, startedAt } = this;
    const bytes = this.received - this.#resumedFrom;
    const unattendedBytes = this.#followers.unattended;
    const unattended = unattendedBytes > 0 ? { unattendedBytes } : {};
    const durationMs = clock() - startedAt;
    notices({ kind: "fill", result, upstream, digest, bytes, ...unattended, durationMs });
  }
}
