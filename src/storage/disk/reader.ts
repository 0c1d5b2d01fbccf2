// Reads a stored blob by position from one open file, which deleting the blob does not affect.
import { type FileHandle, open } from "node:fs/promises";
import type { Digest } from "../../oci/digest.ts";
import { type StoredBlob, StoreError } from "../../ports/blobs.ts";
import { storeFailure, systemCode } from "../store-failure.ts";
import type { Layout } from "./layout.ts";

/** Undefined when the blob has no file. Rejects with StoreError. */
export async function openStored(layout: Layout, digest: Digest): Promise<DiskReader | undefined> {
  try {
    const handle = await open(layout.blob(digest), "r");
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new StoreError("io", `${digest} is not a file in the cache directory`);
      return new DiskReader(handle, stats.size);
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw storeFailure(error, `open ${digest}`);
    return undefined;
  }
}

/** The spool file of a blob of `size` bytes. Undefined when it is no longer there. Rejects with StoreError. */
export async function openSpooled(path: string, size: number): Promise<DiskReader | undefined> {
  try {
    return new DiskReader(await open(path, "r"), size);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw storeFailure(error, "open a spool file");
    return undefined;
  }
}

export class DiskReader implements StoredBlob {
  readonly size: number;
  readonly #handle: FileHandle;
  #closing: Promise<void> | undefined;

  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.size = size;
  }

  async read(position: number, scratch: Buffer): Promise<Buffer> {
    if (this.#closing) throw new StoreError("closed", "the reader is closed");
    const wanted = Math.min(scratch.length, this.size - position);
    return wanted > 0 ? readAt(this.#handle, position, scratch, wanted) : scratch.subarray(0, 0);
  }

  close(): Promise<void> {
    this.#closing ??= closeHandle(this.#handle);
    return this.#closing;
  }
}

/**
 * One read of at most `wanted` bytes (at least 1). The caller knows that the file has bytes at `position`: a file that
 * ends earlier was cut, which is StoreError `io` and not the end.
 */
export async function readAt(
  handle: FileHandle,
  position: number,
  scratch: Buffer,
  wanted: number,
): Promise<Buffer> {
  let bytesRead: number;
  try {
    ({ bytesRead } = await handle.read(scratch, 0, wanted, position));
  } catch (error) {
    throw storeFailure(error, "read a blob");
  }
  if (bytesRead === 0) throw new StoreError("io", `a blob's file ends before byte ${position}`);
  return scratch.subarray(0, bytesRead);
}

/** Waits for running reads and writes, then closes the descriptor. */
export async function closeHandle(handle: FileHandle): Promise<void> {
  try {
    await handle.close();
  } catch (error) {
    throw storeFailure(error, "close a file of the cache");
  }
}
