// A layout as one tar file: oci-layout, index.json, then the blobs, each once, so that a reader which takes it as it comes knows at
// once what it is for. It is written beside its name (`.partial`) and renamed when it is whole. A tar cannot be added to in the middle,
// and index.json stands at its beginning, so resuming means this: the same export begun again reads what the one before has written,
// and goes on behind the last whole blob; when index.json is another one, because a tag has moved or other images are wanted, it
// begins anew.
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { open, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { extract, type Header, type Pack, pack } from "tar-stream";
import type { JsonObject } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import {
  blobPath,
  digestOfPath,
  formatIndexFile,
  indexName,
  layoutBody,
  layoutName,
} from "./layout-files.ts";
import type { LayoutWriter } from "./layout-writer.ts";
import { areBytesOf, bytesOf } from "./verified-bytes.ts";

/** Bytes of the units a tar consists of. */
const block = 512;

export class TarWriter implements LayoutWriter {
  readonly #file: string;
  readonly #partial: string;
  #kept: ReadonlyMap<Digest, number> = new Map();
  #pack: Pack | undefined;
  /** Resolves when all is in the file; rejects with what went wrong. */
  #written: Promise<void> = Promise.resolve();

  constructor(file: string) {
    this.#file = file;
    this.#partial = `${file}.partial`;
  }

  async begin(images: readonly JsonObject[]): Promise<void> {
    const index = formatIndexFile(images);
    const { end, blobs } = await keptOf(this.#partial, index);
    this.#kept = blobs;
    const file = await open(this.#partial, end === 0 ? "w" : "r+", 0o644);
    if (end > 0)
      await file.truncate(end).catch(async (error) => {
        await file.close();
        throw error;
      });
    const output = createWriteStream(this.#partial, { fd: file, start: end, flush: true });
    const packed = pack();
    this.#pack = packed;
    this.#written = pipeline(packed, output);
    // Who writes is told.
    this.#written.catch(() => {});
    if (end > 0) return;
    await this.#entry(layoutName, layoutBody.length, [layoutBody]);
    await this.#entry(indexName, index.length, [index]);
  }

  async has(digest: Digest, size: number): Promise<boolean> {
    return this.#kept.get(digest) === size;
  }

  async write(digest: Digest, size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    await this.#entry(blobPath(digest), size, chunks);
  }

  async finish(): Promise<void> {
    this.#pack?.finalize();
    await this.#written;
    await rename(this.#partial, this.#file);
    const directory = await open(dirname(this.#file));
    await directory.sync().finally(() => directory.close());
  }

  async close(): Promise<void> {
    this.#pack?.destroy(new Error("closed before its end"));
    await this.#written.catch(() => {});
  }

  async #entry(name: string, size: number, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    const packed = this.#pack;
    if (packed === undefined) throw new Error("the tar is not open");
    const { promise: over, resolve, reject } = Promise.withResolvers<void>();
    over.catch(() => {});
    let sink: ReturnType<Pack["entry"]> | undefined;
    try {
      // The same bytes every time: nothing here says when or by whom.
      const header = { name, size, mode: 0o644, mtime: new Date(0) };
      sink = packed.entry(header, (error) => (error ? reject(error) : resolve()));
      // Told by the entry, and by what is written.
      sink.on("error", () => {});
      for await (const chunk of chunks)
        if (!sink.write(chunk)) await Promise.race([once(sink, "drain"), over, this.#written]);
      sink.end(null);
      await Promise.race([over, this.#written.then(() => over)]);
    } catch (error) {
      // What the disk says comes before what follows from it.
      if (packed.destroying) await this.#written;
      sink?.destroy(error as Error);
      throw error;
    }
  }
}

/** What an export that was interrupted has left: where it ends, and the blobs before that. 0: nothing that is of use. */
async function keptOf(
  partial: string,
  index: Buffer,
): Promise<{ readonly end: number; readonly blobs: ReadonlyMap<Digest, number> }> {
  const blobs = new Map<Digest, number>();
  let end = 0;
  // A device may have no end.
  if ((await stat(partial).catch(() => undefined))?.isFile() !== true) return { end, blobs };
  const entries = extract();
  const reading = pipeline(createReadStream(partial), entries);
  reading.catch(() => {});
  try {
    let at = 0;
    for await (const entry of entries) {
      const bytes = entry as AsyncIterable<Buffer>;
      const { name, size = 0, byteOffset } = entry.header as Header & { readonly byteOffset: number };
      const expected = [
        [layoutName, layoutBody],
        [indexName, index],
      ] as const;
      const [head, body] = expected[at++] ?? [];
      const digest = digestOfPath(name);
      if (head !== undefined) {
        if (name !== head || !(await bytesOf(name, size, bytes)).equals(body)) break;
      } else if (digest === undefined || !(await areBytesOf(digest, size, bytes))) break;
      else blobs.set(digest, size);
      if (at >= expected.length) end = byteOffset + Math.ceil(size / block) * block;
    }
  } catch {
    // It ends in the middle of something, or is not there: what came before counts.
  } finally {
    entries.destroy();
  }
  return { end, blobs };
}
