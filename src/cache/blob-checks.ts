// Whether what is stored under a digest still is what the digest says, and what becomes of it when it is not: nobody is
// given it any more, it leaves the store, and what was wanted lately is fetched again. When so much reads wrong in a row
// that the disk or the memory must be at fault, nothing more is taken out: those bytes may be right.
import { createHash } from "node:crypto";
import { type Digest, digestAlgorithm, digestHex } from "../oci/digest.ts";
import { type BlobStore, StoreError } from "../ports/blobs.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { BitRotFinder, NoticeSink } from "../ports/event.ts";
import type { BlobIndex } from "../ports/records.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";

/** Bytes read and hashed in one turn of the event loop: a third of a millisecond's work. */
const step = 128 * 1024;
/** Blobs hashed at once while somebody waits for them; more wait in order. */
const mostAtOnce = 4;
/** Findings in a row after which nothing more is taken out of the store; and sound blobs in a row that end that. */
export const findingsInRow = 8;
/** Digests remembered as not to be served, while they cannot be taken out. The oldest is forgotten for a new one. */
const maxShunned = 10_000;
/** Milliseconds since its last use in which a blob counts as asked for lately. */
const lately = 86_400_000;

/** `unknown`: the store could not say; nothing follows from it. */
export type CheckResult = "sound" | "wrong" | "absent" | "unknown";

export interface BlobChecksOptions {
  readonly store: Pick<BlobStore, "open" | "quarantine">;
  readonly index: BlobIndex;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
  /** Told first of all: whoever is being sent the stored bytes must not get the last of them. */
  readonly wrong: (digest: Digest) => void;
  /** Stores the right bytes again when memory has them: true. Must not throw. */
  readonly repair: (digest: Digest) => Promise<boolean>;
  /** Fetches a blob, a manifest where the media type says so, that is gone and was wanted lately. Must not throw. */
  readonly refetch: (digest: Digest, mediaType: string | undefined) => void;
}

/** How fast a check may go that nobody waits for, and until when it goes on. */
export interface Leisure {
  /** Asked for anew at every step. */
  readonly bytesPerSecond: () => number;
  readonly signal: AbortSignal;
}

interface Running {
  readonly result: Promise<CheckResult>;
  /** Aborted once somebody waits for the result: from then on it pauses no more. */
  readonly hurry: AbortController;
  /** Right bytes have been stored meanwhile: whatever it has read was what they replaced. */
  outdated: boolean;
}

export class BlobChecks {
  readonly #options: BlobChecksOptions;
  readonly #running = new Map<Digest, Running>();
  /** Wrong, and still where they were: they count as absent until they are stored anew. */
  readonly #shunned = new Set<Digest>();
  readonly #finding = new Map<Digest, Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #hashing = 0;
  /** Wrong ones in a row; below 0: sound ones since the alarm. */
  #inRow = 0;
  #alarm = false;

  constructor(options: BlobChecksOptions) {
    this.#options = options;
  }

  /** So much reads wrong that nothing is taken out of the store any more. */
  get alarm(): boolean {
    return this.#alarm;
  }

  /** Whether the stored bytes are known to be wrong: whoever asks for the blob must not get them. */
  shuns(digest: Digest): boolean {
    return this.#shunned.size > 0 && this.#shunned.has(digest);
  }

  /** Right bytes have been stored under the digest. */
  stored(digest: Digest): void {
    this.#shunned.delete(digest);
    const running = this.#running.get(digest);
    if (running !== undefined) running.outdated = true;
  }

  /**
   * Hashes what is stored, once for all who ask meanwhile, and does what a wrong result asks for before it resolves.
   * `slowly`: at leisure, while nobody but this caller waits. Never rejects.
   */
  check(digest: Digest, by: BitRotFinder, slowly?: Leisure): Promise<CheckResult> {
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

  /** What is stored under the digest has been seen to be wrong. Rejects with StoreError when it cannot be taken out. */
  found(digest: Digest, by: BitRotFinder, bytes: number): Promise<void> {
    const known = this.#finding.get(digest);
    if (known !== undefined) return known;
    const finding = this.#found(digest, by, bytes).finally(() => this.#finding.delete(digest));
    this.#finding.set(digest, finding);
    return finding;
  }

  async #found(digest: Digest, by: BitRotFinder, bytes: number): Promise<void> {
    const { store, index, notices, clock, wrong, repair, refetch } = this.#options;
    const alarmed = this.#countFinding();
    // Before the file goes: from here on nobody gets the last of these bytes.
    this.#shun(digest);
    wrong(digest);
    if (alarmed) return notices({ kind: "bit_rot", by, digest, bytes, quarantined: false });
    if (await store.quarantine(digest)) {
      notices({ kind: "bit_rot", by, digest, bytes, quarantined: true });
      const orphaned = index.manifestsNaming(digest);
      notices({ kind: "eviction", reason: "corrupt", digest, bytes, ageMs: 0, orphaned });
    }
    const mediaType = index.get(digest)?.mediaType;
    const usedAt = index.usedAt(digest) ?? Number.NEGATIVE_INFINITY;
    // The row after the file: without its row, one that stays behind would be taken for a blob of its own size.
    index.remove(digest);
    this.#shunned.delete(digest);
    if (!(await repair(digest)) && clock() - usedAt < lately) refetch(digest, mediaType);
  }

  async #check(
    digest: Digest,
    by: BitRotFinder,
    running: Running,
    slowly: Leisure | undefined,
  ): Promise<CheckResult> {
    const hurry = running.hurry.signal;
    let result = await this.#hash(digest, hurry, slowly);
    // Once more, and at once: a bit that fell over on the way from the disk says nothing about what is stored.
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
    slowly: Leisure | undefined,
  ): Promise<{ readonly kind: CheckResult; readonly bytes: number }> {
    const urgent = slowly === undefined;
    if (urgent) await this.#turn();
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
          if (!hurry.aborted) await this.#rest((bytes.length * 1000) / slowly.bytesPerSecond(), hurry);
          if (slowly.signal.aborted) return { kind: "unknown", bytes: position };
        }
        const kind = hash.digest("hex") === digestHex(digest) ? "sound" : "wrong";
        return { kind, bytes: blob.size };
      } catch (error) {
        // A place of the disk that cannot be read any more. A store that has gone away says so in another code.
        if (error instanceof StoreError && error.code === "io") return { kind: "wrong", bytes: blob.size };
        throw error;
      } finally {
        await blob.close();
      }
    } finally {
      if (urgent) this.#next();
    }
  }

  /** Waits for one of the few places. */
  async #turn(): Promise<void> {
    if (this.#hashing < mostAtOnce) this.#hashing++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#hashing--;
    else next();
  }

  async #rest(milliseconds: number, hurry: AbortSignal): Promise<void> {
    await this.#options.pause(milliseconds, hurry).catch(() => {});
  }

  #sound(digest: Digest): void {
    this.#shunned.delete(digest);
    this.#options.index.checked(digest, this.#options.clock());
    this.#inRow = this.#alarm ? Math.min(0, this.#inRow) - 1 : 0;
    if (this.#inRow > -findingsInRow) return;
    this.#inRow = 0;
    this.#alarm = false;
    this.#options.notices({ kind: "bit_rot_alarm", raised: false });
  }

  /** True once so many have been wrong in a row that this one stays where it is. */
  #countFinding(): boolean {
    this.#inRow = Math.max(0, this.#inRow) + 1;
    if (this.#alarm || this.#inRow < findingsInRow) return this.#alarm;
    this.#alarm = true;
    this.#options.notices({ kind: "bit_rot_alarm", raised: true });
    return true;
  }

  #shun(digest: Digest): void {
    const [oldest] = this.#shunned;
    if (oldest !== undefined && this.#shunned.size >= maxShunned) this.#shunned.delete(oldest);
    this.#shunned.add(digest);
  }
}
