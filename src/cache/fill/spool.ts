// The spool of one fill. When the store fails it reports that once and takes nothing more; what it has can still be read.
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
  #opened = false;
  /** The store has taken over the bytes: they are committed, or kept. */
  #handedOver = false;

  /** `changed` is called when it is opened, after every append, and when the store has failed. */
  constructor(notices: NoticeSink, changed: () => void) {
    this.#notices = notices;
    this.#changed = changed;
  }

  /** Called once, before everything else but `resume`. `make` gives undefined when the blob is not to be stored. */
  async open(make: () => Promise<BlobWriter | undefined>): Promise<void> {
    try {
      this.#writer = await make();
      // Not before: a blob that will not be stored must not be counted as bytes of the store meanwhile.
      this.#usable = this.#writer !== undefined;
    } catch (error) {
      this.#fail("create", error);
    }
    this.#opened = true;
    this.#changed();
  }

  /** Goes on with the spool an earlier fill has kept. */
  resume(writer: BlobWriter): void {
    this.#writer = writer;
    this.#usable = true;
    this.#opened = true;
  }

  /** Throws the resumed spool away, so that another can be opened. */
  async discardResumed(): Promise<void> {
    this.#usable = false;
    this.#opened = false;
    await this.abort();
    this.release();
  }

  /** Whether it is known that bytes go to the store, or that they do not. */
  get opened(): boolean {
    return this.#opened;
  }

  /** Path of the file; undefined: there is none. */
  get file(): string | undefined {
    return this.#writer?.file;
  }

  /** Whether bytes go to the store. */
  get usable(): boolean {
    return this.#usable;
  }

  /** Bytes that can be read. */
  get written(): number {
    return this.#writer?.written ?? 0;
  }

  /** See BlobWriter. */
  get extent(): number {
    return this.#writer?.extent ?? 0;
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

  /** See BlobWriter; only while `usable`. False when the store failed. */
  async writeAt(position: number, buffers: readonly Buffer[]): Promise<boolean> {
    try {
      await (this.#writer as BlobWriter).writeAt(position, buffers);
    } catch (error) {
      this.#fail("append", error);
    }
    return this.#usable;
  }

  /** See BlobWriter. */
  read(position: number, scratch: Buffer): Promise<Buffer> {
    return (this.#writer as BlobWriter).read(position, scratch);
  }

  /** Only while `usable`. False when the store failed. */
  async commit(digest: Digest, size: number): Promise<boolean> {
    try {
      await (this.#writer as BlobWriter).commit(digest, size);
      this.#handedOver = true;
    } catch (error) {
      this.#fail("commit", error);
    }
    return this.#handedOver;
  }

  /** Only while `usable` and nothing is being written. False when the store failed. */
  async keep(record: KeptRecord): Promise<boolean> {
    try {
      await (this.#writer as BlobWriter).keep(record);
      this.#handedOver = true;
    } catch (error) {
      this.#fail("keep", error);
    }
    return this.#handedOver;
  }

  /** Throws away what was neither committed nor kept. */
  async abort(): Promise<void> {
    await this.#writing;
    if (this.#handedOver) return;
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
