// A spool file: its fill appends to it, the fill's followers read it, and a commit renames it into the store.
import { type FileHandle, mkdir, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { type Digest, digestAlgorithm } from "../../oci/digest.ts";
import { type BlobWriter, type KeptRecord, StoreError } from "../../ports/blobs.ts";
import { storeFailure, systemCode } from "../store-failure.ts";
import { syncDirectory } from "./fsync.ts";
import type { Layout } from "./layout.ts";
import { closeHandle, readAt } from "./reader.ts";

/** How often a commit creates the directory of its shard, which a deletion may remove at the same time. */
const shardAttempts = 3;

/** What the spool directory does for its writers. */
export interface SpoolOwner {
  /** To be called when the spool is committed or its file closed. */
  finished(): void;
  /** Takes the file over, with `bytes` in it. Rejects with the system's error. */
  keep(record: KeptRecord, bytes: number): Promise<void>;
}

export class DiskWriter implements BlobWriter {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #layout: Layout;
  #written: number;
  #extent: number;
  /** A failed append may have left bytes behind `written`. */
  #torn = false;
  /** Set by the first commit, keep or abort. */
  #finished = false;
  #closing: Promise<void> | undefined;
  readonly #owner: SpoolOwner;

  /** `written`: bytes the file has already. */
  constructor(handle: FileHandle, path: string, layout: Layout, owner: SpoolOwner, written = 0) {
    this.#handle = handle;
    this.#path = path;
    this.#layout = layout;
    this.#owner = owner;
    this.#written = written;
    this.#extent = written;
  }

  get written(): number {
    return this.#written;
  }

  get file(): string {
    return this.#path;
  }

  get extent(): number {
    return this.#extent;
  }

  /** All or nothing: after a failure `written` is what it was, and the same append may be tried again. */
  async append(buffers: readonly Buffer[]): Promise<void> {
    const end = await this.#write(this.#written, buffers);
    this.#written = end;
    this.#extent = Math.max(this.#extent, end);
  }

  async writeAt(position: number, buffers: readonly Buffer[]): Promise<void> {
    // Before they are written they may take space.
    this.#extent = Math.max(this.#extent, position + buffers.reduce((sum, { length }) => sum + length, 0));
    await this.#write(position, buffers);
  }

  /** Resolves with where the last byte ends. */
  async #write(from: number, buffers: readonly Buffer[]): Promise<number> {
    if (this.#finished || this.#closing) throw new StoreError("closed", "the spool takes no more bytes");
    let rest = buffers.filter((buffer) => buffer.length > 0);
    let position = from;
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await this.#handle.writev(rest, position);
        // Without progress the loop would never end.
        if (bytesWritten === 0) throw new StoreError("io", "cannot write the spool: nothing was written");
        position += bytesWritten;
        rest = withoutFirst(rest, bytesWritten);
      }
    } catch (error) {
      this.#torn = true;
      throw storeFailure(error, "write the spool");
    }
    return position;
  }

  async read(position: number, scratch: Buffer): Promise<Buffer> {
    if (this.#closing) throw new StoreError("closed", "the spool is released");
    const end = position < this.#written ? this.#written : this.#extent;
    const wanted = Math.min(scratch.length, end - position);
    return wanted > 0 ? readAt(this.#handle, position, scratch, wanted) : scratch.subarray(0, 0);
  }

  /**
   * Syncs the bytes, renames the file, syncs the directory: after a crash the blob is whole or absent. A commit that
   * fails has removed the file, so no abort need follow. Rejects with StoreError.
   */
  async commit(digest: Digest, size: number): Promise<void> {
    if (this.#finished || this.#closing) throw new StoreError("closed", "the spool was committed or aborted");
    this.#finished = true;
    const target = this.#layout.blob(digest);
    let removable = this.#path;
    try {
      if (size !== this.#written)
        throw new StoreError("size_mismatch", `${digest} should have ${size} bytes, not ${this.#written}`);
      await this.#cut();
      await this.#handle.datasync();
      await this.#rename(digest, target);
      removable = target;
      await syncDirectory(dirname(target));
      this.#owner.finished();
    } catch (error) {
      // The first failure is reported. A file that stays is swept, or reconciled at the next start.
      await unlink(removable).catch(() => undefined);
      throw storeFailure(error, `commit ${digest}`);
    }
  }

  /** Not synced: the hash in the record shows whether a crash has torn the bytes. */
  async keep(record: KeptRecord): Promise<void> {
    if (this.#finished || this.#closing) throw new StoreError("closed", "the spool was committed or aborted");
    this.#finished = true;
    try {
      await this.#cut();
      await this.#owner.keep(record, this.#written);
    } catch (error) {
      // A file that stays is swept.
      await unlink(this.#path).catch(() => undefined);
      throw storeFailure(error, `keep what has come of ${record.digest}`);
    }
  }

  /** Removes what is behind `written`. */
  async #cut(): Promise<void> {
    if (this.#torn || this.#extent > this.#written) await this.#handle.truncate(this.#written);
  }

  async abort(): Promise<void> {
    if (this.#finished) return;
    this.#finished = true;
    try {
      await unlink(this.#path);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw storeFailure(error, "remove the spool");
    }
  }

  release(): Promise<void> {
    this.#closing ??= closeHandle(this.#handle).finally(() => this.#owner.finished());
    return this.#closing;
  }

  async #rename(digest: Digest, target: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await rename(this.#path, target);
      } catch (error) {
        if (systemCode(error) !== "ENOENT" || attempt > shardAttempts) throw error;
        // The shard has no directory yet, or its last blob was just deleted.
        await mkdir(dirname(target), { recursive: true, mode: 0o700 });
        await syncDirectory(this.#layout.algorithm(digestAlgorithm(digest)));
      }
    }
  }
}

function withoutFirst(buffers: readonly Buffer[], count: number): Buffer[] {
  let skip = count;
  const rest: Buffer[] = [];
  for (const buffer of buffers) {
    if (skip < buffer.length) rest.push(skip > 0 ? buffer.subarray(skip) : buffer);
    skip = Math.max(0, skip - buffer.length);
  }
  return rest;
}
