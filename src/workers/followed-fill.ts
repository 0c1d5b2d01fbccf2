// A blob on its way, read by a worker: the bytes from the file of its spool, and how far that is from the primary, which
// fills it (ports/grant.ts). When the store fails, the primary sends the bytes that come after what is in the file.
import type { IncomingMessage } from "node:http";
import { type BlobReader, type StoredBlob, StoreError, type StoreErrorCode } from "../ports/blobs.ts";
import { type FillNews, readFillNews } from "../ports/grant.ts";
import { UpstreamError, type UpstreamErrorCode } from "../ports/upstream.ts";

/** Characters of one line of news at most. */
const longestNews = 4096;
const newline = 0x0a;

export class FollowedFill implements BlobReader {
  readonly #file: StoredBlob;
  readonly #answer: IncomingMessage;
  readonly #chunks: AsyncIterator<Buffer>;
  /** What has come of a line, or of the bytes that are sent here. */
  #rest: Buffer = Buffer.alloc(0);
  /** Bytes in the file that may be read. */
  #readable = 0;
  /** Position of the next byte that is sent here; undefined: none is. */
  #sentAt: number | undefined;
  #failure: Error | undefined;
  #changed = Promise.withResolvers<void>();

  /** `file` has the size of the whole blob. `answer`: the body of a grant of a fill. */
  constructor(file: StoredBlob, answer: IncomingMessage) {
    this.#file = file;
    this.#answer = answer;
    this.#chunks = (answer as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    void this.#listen();
  }

  async arrived(position: number): Promise<void> {
    while (this.#failure === undefined && this.#sentAt === undefined && position >= this.#readable)
      await this.#changed.promise;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async read(position: number, scratch: Buffer): Promise<Buffer> {
    await this.arrived(position);
    const inFile = this.#readable - position;
    if (inFile > 0)
      return this.#file.read(position, inFile < scratch.length ? scratch.subarray(0, inFile) : scratch);
    return this.#readSent(position, scratch.length);
  }

  /** No more of it is read, for this reason. */
  cut(reason: Error): void {
    this.#failure ??= reason;
    this.#changed.resolve();
  }

  async close(): Promise<void> {
    if (this.#readable < this.#file.size) this.#answer.destroy();
    await this.#file.close();
  }

  /** Takes what the primary tells, until there is nothing more to be told. */
  async #listen(): Promise<void> {
    try {
      while (this.#readable < this.#file.size && this.#sentAt === undefined) this.#heard(await this.#line());
      // To its end, so that the connection can be used again.
      if (this.#sentAt === undefined) this.#answer.resume();
    } catch (error) {
      this.#failure ??= new StoreError("unavailable", "the primary tells no more of a fill", {
        cause: error,
      });
    }
    this.#changed.resolve();
  }

  #heard(news: FillNews): void {
    if (typeof news === "number") this.#readable = news;
    else if (news === "bytes") this.#sentAt = this.#readable;
    else {
      const { failed, code, message, status } = news;
      this.#failure =
        failed === "upstream"
          ? new UpstreamError(code as UpstreamErrorCode, message, { status })
          : new StoreError(code as StoreErrorCode, message);
      throw this.#failure;
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async #line(): Promise<FillNews> {
    for (;;) {
      const end = this.#rest.indexOf(newline);
      if (end >= 0) {
        const line = this.#rest.toString("utf8", 0, end);
        this.#rest = this.#rest.subarray(end + 1);
        return readFillNews(line);
      }
      if (this.#rest.length > longestNews) throw new Error("too much news in one line");
      const chunk = await this.#next();
      this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    }
  }

  async #next(): Promise<Buffer> {
    const { done, value } = await this.#chunks.next();
    if (done === true) throw new Error("the primary's answer has ended early");
    return value;
  }

  /** Bytes are sent once, in order: what comes before `position` is dropped. */
  async #readSent(position: number, most: number): Promise<Buffer> {
    let at = this.#sentAt as number;
    if (position < at) throw new StoreError("io", `bytes at ${position} are no longer held`);
    try {
      while (this.#rest.length === 0 || at < position) {
        if (this.#rest.length === 0) this.#rest = await this.#next();
        const dropped = Math.min(this.#rest.length, position - at);
        this.#rest = this.#rest.subarray(dropped);
        at += dropped;
      }
    } catch (error) {
      throw new StoreError("unavailable", "the primary sends no more of a fill", { cause: error });
    }
    const bytes = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(bytes.length);
    this.#sentAt = at + bytes.length;
    return bytes;
  }
}
