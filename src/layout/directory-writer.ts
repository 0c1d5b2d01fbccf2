// A layout in a directory. Blobs that are there are hashed and kept; each other one is written under a name of its own, made durable
// and renamed; index.json comes last, in one rename, and keeps the images it named before under other names.
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { JsonObject } from "../oci/descriptor.ts";
import { type Digest, digestAlgorithm } from "../oci/digest.ts";
import { refNameAnnotation, upstreamAnnotation } from "./image-names.ts";
import { LayoutError } from "./layout-error.ts";
import {
  blobPath,
  checkLayoutFile,
  formatIndexFile,
  indexName,
  layoutBody,
  layoutName,
  parseIndexFile,
} from "./layout-files.ts";
import type { LayoutWriter } from "./layout-writer.ts";
import { areBytesOf } from "./verified-bytes.ts";

/** The one file that is not whole yet. */
const partialName = ".entrepot-export.partial";

export class DirectoryWriter implements LayoutWriter {
  readonly #directory: string;
  #images: readonly JsonObject[] = [];

  constructor(directory: string) {
    this.#directory = directory;
  }

  async begin(images: readonly JsonObject[]): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const there = await orUndefined(readFile(join(this.#directory, layoutName)));
    if (there !== undefined) checkLayoutFile(there);
    else if ((await readdir(this.#directory)).some((name) => name !== partialName))
      throw new LayoutError(
        "occupied",
        `${this.#directory} has files in it and is no OCI layout: name a new or an empty directory`,
      );
    else await this.#put(layoutName, [layoutBody]);
    this.#images = await this.#merged(images);
  }

  async has(digest: Digest, size: number): Promise<boolean> {
    const path = join(this.#directory, blobPath(digest));
    const found = await orUndefined(stat(path));
    if (found?.isFile() !== true || found.size !== size) return false;
    return await areBytesOf(digest, size, createReadStream(path));
  }

  async write(digest: Digest, _size: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    await mkdir(join(this.#directory, "blobs", digestAlgorithm(digest)), { recursive: true });
    await this.#put(blobPath(digest), chunks);
  }

  async finish(): Promise<void> {
    await this.#put(indexName, [formatIndexFile(this.#images)]);
  }

  async close(): Promise<void> {
    await rm(join(this.#directory, partialName), { force: true });
  }

  /** Those that index.json has besides, under other names. */
  async #merged(images: readonly JsonObject[]): Promise<readonly JsonObject[]> {
    const body = await orUndefined(readFile(join(this.#directory, indexName)));
    if (body === undefined) return images;
    const taken = new Set(images.map(nameOf));
    const others = parseIndexFile(body).filter(({ descriptor }) => !taken.has(nameOf(descriptor)));
    return [...others.map(({ descriptor }) => descriptor), ...images];
  }

  async #put(path: string, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    const partial = join(this.#directory, partialName);
    let file: FileHandle | undefined;
    try {
      await rm(partial, { force: true });
      file = await open(partial, "wx", 0o644);
      for await (const chunk of chunks) await file.appendFile(chunk);
      await file.sync();
    } finally {
      await file?.close();
    }
    await rename(partial, join(this.#directory, path));
  }
}

/** What makes two entries of index.json the same image. */
function nameOf({ digest, annotations }: JsonObject): string {
  const name = (annotations as JsonObject | undefined)?.[refNameAnnotation];
  return typeof name === "string" ? `name ${name} ${upstreamOf(annotations)}` : `digest ${digest}`;
}

function upstreamOf(annotations: unknown): string {
  return String((annotations as JsonObject | undefined)?.[upstreamAnnotation] ?? "");
}

/** Undefined: there is no such file. */
async function orUndefined<Found>(asked: Promise<Found>): Promise<Found | undefined> {
  try {
    return await asked;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
