// Checks whether the bytes stored under a digest still have that digest. Wrong ones are not served any more, they leave the
// store, and what clients used lately is fetched again. When so many blobs in a row read wrong that the disk or the memory
// must be at fault (the alarm), nothing more is taken out of the store: those bytes may be right.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../oci/digest.ts";
import { type BlobStore, StoreError } from "../ports/blobs.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { BitRotFinder, NoticeSink } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import { SingleFlight } from "../ports/single-flight.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";

/** Bytes read and hashed in one turn of the event loop. */
const step = 128 * 1024;
/** Blobs hashed at once for clients that wait; more queue in order. */
const maxAtOnce = 4;
/** Wrong blobs in a row that raise the alarm, and sound ones in a row that end it. */
export const findingsInRow = 8;
/** Digests remembered as not to be served while their bytes cannot be taken out. A new one beyond them replaces the oldest. */
const maxBlocked = 10_000;
/** Milliseconds since its last use in which a wrong blob is fetched again. */
const refetchWithin = 86_400_000;

/** `unknown`: the store could not say, and nothing is done. */
export type CheckResult = "sound" | "wrong" | "absent" | "unknown";

export interface BlobChecksOptions {
  readonly store: Pick<BlobStore, "open" | "quarantine">;
  readonly index: BlobIndex;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
  /** Called before anything else: clients that are being sent the stored bytes must not get the last of them. */
  readonly wrong: (digest: Digest) => void;
  /** Stores the right bytes again when memory has them; resolves with whether it has. Must not throw. */
  readonly repair: (digest: Digest) => Promise<boolean>;
  /** Fetches a blob that is gone and was used lately; a manifest when there is a media type. Must not throw. */
  readonly refetch: (digest: Digest, mediaType: string | undefined) => void;
}

/** How fast a check may go that no client waits for, and until when it goes on. */
export interface SlowCheck {
  /** Asked anew at every step. */
  readonly bytesPerSecond: () => number;
  readonly signal: AbortSignal;
}

interface Running {
  readonly result: Promise<CheckResult>;
  /** Aborted once a client waits for the result: from then on the check does not pause. */
  readonly hurry: AbortController;
  /** Right bytes have been stored meanwhile: what the check has read is what they replaced. */
  outdated: boolean;
}

export class BlobChecks {
  readonly #options: BlobChecksOptions;
  readonly #running = new Map<Digest, Running>();
  /** Digests whose stored bytes are wrong and still in the store: they count as absent until they are stored anew. */
  readonly #blocked = new Set<Digest>();
  readonly #finding = new SingleFlight<void>();
  readonly #waiting: (() => void)[] = [];
  #hashing = 0;
  /** Wrong blobs in a row; below 0: sound ones in a row since the alarm. */
  #inRow = 0;
  #alarm = false;

  constructor(options: BlobChecksOptions) {
    this.#options = options;
  }

  /** Whether so much reads wrong that nothing is taken out of the store any more. */
  get alarm(): boolean {
    return this.#alarm;
  }

  /** Whether the stored bytes are known to be wrong: no client may get them. */
  isBlocked(digest: Digest): boolean {
    return this.#blocked.size > 0 && this.#blocked.has(digest);
  }

  /** Right bytes have been stored under the digest. */
  stored(digest: Digest): void {
    this.#blocked.delete(digest);
    const running = this.#running.get(digest);
    if (running !== undefined) running.outdated = true;
  }

  /**
   * Hashes what is stored, once for all that ask meanwhile, and handles a wrong result before it resolves. `slowly`: with
   * pauses, until another caller waits. Never rejects.
   */
  check(digest: Digest, by: BitRotFinder, slowly?: SlowCheck): Promise<CheckResult> {
    const known = this.#running.get(digest);
    if (known !== undefined) {
      if (slowly === undefined) known.hurry.abort();
      return known.result;
    }
    const { promise: result, resolve } = Promise.withResolvers<CheckResult>();
    const running: Running = { result, hurry: new AbortController(), outdated: false };
    this.#running.set(digest, running);
    void this.#check(digest, by, running, slowly)
      .catch((error: unknown): CheckResult => {
        this.#options.notices(noticeOfStoreError("check", error));
        return "unknown";
      })
      .then((kind) => {
        this.#running.delete(digest);
        resolve(kind);
      });
    return result;
  }

  /** The bytes stored under the digest are wrong. Rejects with StoreError when they cannot be taken out. */
  found(digest: Digest, by: BitRotFinder, bytes: number): Promise<void> {
    return this.#finding.run(digest, () => this.#found(digest, by, bytes)).promise;
  }

  async #found(digest: Digest, by: BitRotFinder, bytes: number): Promise<void> {
    const { store, index, notices, clock, wrong, repair, refetch } = this.#options;
    const alarmed = this.#countFinding();
    // Before the file is moved: from here on no client gets the last of these bytes.
    this.#block(digest);
    wrong(digest);
    if (alarmed) return notices({ kind: "bit_rot", by, digest, bytes, quarantined: false });
    if (await store.quarantine(digest)) {
      notices({ kind: "bit_rot", by, digest, bytes, quarantined: true });
      const orphaned = index.manifestsNaming(digest);
      notices({ kind: "eviction", reason: "corrupt", digest, bytes, ageMs: 0, orphaned });
    }
    const mediaType = index.get(digest)?.mediaType;
    const usedAt = index.usedAt(digest) ?? Number.NEGATIVE_INFINITY;
    // The row after the file: a file that stayed behind without its row would be taken for a blob of the file's size.
    index.remove(digest);
    this.#blocked.delete(digest);
    if (!(await repair(digest)) && clock() - usedAt < refetchWithin) refetch(digest, mediaType);
  }

  async #check(
    digest: Digest,
    by: BitRotFinder,
    running: Running,
    slowly: SlowCheck | undefined,
  ): Promise<CheckResult> {
    const hurry = running.hurry.signal;
    let result = await this.#hash(digest, hurry, slowly);
    // Once more, and without pauses: a bit that flipped on the way from the disk says nothing about what is stored.
    if (result.kind === "wrong") result = await this.#hash(digest, hurry, undefined);
    if (running.outdated) return "unknown";
    const { kind, bytes } = result;
    if (kind === "sound" || kind === "wrong")
      this.#options.notices({ kind: "blob_check", by, result: kind, digest, bytes });
    if (result.kind === "wrong") await this.found(digest, by, result.bytes);
    if (result.kind === "sound") this.#sound(digest);
    return result.kind;
  }

  async #hash(
    digest: Digest,
    hurry: AbortSignal,
    slowly: SlowCheck | undefined,
  ): Promise<{ readonly kind: CheckResult; readonly bytes: number }> {
    const urgent = slowly === undefined;
    if (urgent) await this.#enter();
    try {
      const blob = await this.#options.store.open(digest);
      if (blob === undefined) return { kind: "absent", bytes: 0 };
      try {
        const hash = createHash(digestAlgorithm(digest));
        const scratch = Buffer.allocUnsafeSlow(Math.min(step, Math.max(1, blob.size)));
        for (let position = 0; position < blob.size; ) {
          const bytes = await blob.read(position, scratch);
          if (bytes.length === 0) break;
          hash.update(bytes);
          position += bytes.length;
          if (urgent) continue;
          if (!hurry.aborted) await this.#pause((bytes.length * 1000) / slowly.bytesPerSecond(), hurry);
          if (slowly.signal.aborted) return { kind: "unknown", bytes: position };
        }
        const kind = hash.digest("hex") === digestHex(digest) ? "sound" : "wrong";
        return { kind, bytes: blob.size };
      } catch (error) {
        // Part of the disk cannot be read any more. A store that is not reachable has another code.
        if (error instanceof StoreError && error.code === "io") return { kind: "wrong", bytes: blob.size };
        throw error;
      } finally {
        await blob.close();
      }
    } finally {
      if (urgent) this.#leave();
    }
  }

  /** Waits until fewer than `maxAtOnce` are being hashed. */
  async #enter(): Promise<void> {
    if (this.#hashing < maxAtOnce) this.#hashing++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#hashing--;
    else next();
  }

  async #pause(milliseconds: number, hurry: AbortSignal): Promise<void> {
    await this.#options.pause(milliseconds, hurry).catch(() => {});
  }

  #sound(digest: Digest): void {
    this.#blocked.delete(digest);
    this.#options.index.checked(digest, this.#options.clock());
    this.#inRow = this.#alarm ? Math.min(0, this.#inRow) - 1 : 0;
    if (this.#inRow > -findingsInRow) return;
    this.#inRow = 0;
    this.#alarm = false;
    this.#options.notices({ kind: "bit_rot_alarm", raised: false });
  }

  /** True once so many have been wrong in a row that this one stays in the store. */
  #countFinding(): boolean {
    this.#inRow = Math.max(0, this.#inRow) + 1;
    if (this.#alarm || this.#inRow < findingsInRow) return this.#alarm;
    this.#alarm = true;
    this.#options.notices({ kind: "bit_rot_alarm", raised: true });
    return true;
  }

  #block(digest: Digest): void {
    const [oldest] = this.#blocked;
    if (oldest !== undefined && this.#blocked.size >= maxBlocked) this.#blocked.delete(oldest);
    this.#blocked.add(digest);
  }
}
