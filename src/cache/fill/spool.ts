// The spool of one fill. When the store fails it says so once and takes nothing more; what it has can still be read.
import type { Digest } from "../../oci/digest.ts";
import type { BlobWriter, KeptRecord } from "../../ports/blobs.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";

export class Spool {
  readonly #notices: NoticeSink;
  readonly #changed: () => void;
  #writer: BlobWriter | undefined;
  #writing: Promise<void> | undefined;
  #usable = false;
  /** Its bytes are the store's: committed, or kept. */
  #given = false;

  /** `changed` is told after every append, and when the store has failed. */
  constructor(notices: NoticeSink, changed: () => void) {
    this.#notices = notices;
    this.#changed = changed;
  }

  /** Called once, before everything else but `takeUp`. `make` gives undefined when the blob is not to be stored. */
  async open(make: () => Promise<BlobWriter | undefined>): Promise<void> {
    try {
      this.#writer = await make();
      // Not before: what will not be stored takes no room meanwhile, in anybody's sum.
      this.#usable = this.#writer !== undefined;
    } catch (error) {
      this.#fail("create", error);
    }
  }

  /** Goes on with a spool that has bytes already. */
  takeUp(writer: BlobWriter): void {
    this.#writer = writer;
    this.#usable = true;
  }

  /** Throws away what was taken up, so that another can be opened. */
  async putDown(): Promise<void> {
    this.#usable = false;
    await this.abort();
    this.release();
  }

  /** Whether bytes go to the store. */
  get usable(): boolean {
    return this.#usable;
  }

  /** Bytes that can be read. */
  get written(): number {
    return this.#writer?.written ?? 0;
  }

  /** The append under way. Never rejects. */
  get writing(): Promise<void> | undefined {
    return this.#writing;
  }

  /** Only while `usable`, one at a time. Never rejects. */
  append(buffers: readonly Buffer[]): Promise<void> {
    const writer = this.#writer as BlobWriter;
    this.#writing = writer
      .append(buffers)
      .catch((error: unknown) => this.#fail("append", error))
      .finally(() => {
        this.#writing = undefined;
        this.#changed();
      });
    return this.#writing;
  }

  /** See BlobWriter. */
  read(position: number, scratch: Buffer): Promise<Buffer> {
    return (this.#writer as BlobWriter).read(position, scratch);
  }

  /** Only while `usable`. False when the store failed. */
  async commit(digest: Digest, size: number): Promise<boolean> {
    try {
      await (this.#writer as BlobWriter).commit(digest, size);
      this.#given = true;
    } catch (error) {
      this.#fail("commit", error);
    }
    return this.#given;
  }

  /** Only while `usable` and nothing is being written. False when the store failed. */
  async keep(record: KeptRecord): Promise<boolean> {
    try {
      await (this.#writer as BlobWriter).keep(record);
      this.#given = true;
    } catch (error) {
      this.#fail("keep", error);
    }
    return this.#given;
  }

  /** Throws away what was neither committed nor kept. */
  async abort(): Promise<void> {
    await this.#writing;
    if (this.#given) return;
    await this.#writer?.abort().catch((error: unknown) => this.#fail("abort", error));
  }

  /** Closes what is read from. Idempotent. */
  release(): void {
    const writer = this.#writer;
    this.#writer = undefined;
    writer?.release().catch((error: unknown) => this.#fail("release", error));
  }

  #fail(op: string, error: unknown): void {
    this.#usable = false;
    this.#notices(noticeOfStoreError(op, error));
    this.#changed();
  }
}
