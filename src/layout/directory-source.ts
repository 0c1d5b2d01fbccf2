// A layout in a directory: index.json first, then blobs, the small ones, among which are the manifests, before the others.
import { constants } from "node:fs";
import { lstat, open, opendir } from "node:fs/promises";
import { join } from "node:path";
import { LayoutError } from "./layout-error.ts";
import { indexName, layoutName } from "./layout-files.ts";
import { type LayoutEntry, type LayoutSource, largestBlob, maxEntries } from "./layout-source.ts";

export async function* directorySource(directory: string): LayoutSource & AsyncGenerator<LayoutEntry> {
  for (const path of [layoutName, indexName]) {
    const size = await sizeOf(directory, path);
    if (size !== undefined) yield { path, size, bytes: () => bytesOf(directory, path) };
  }
  const blobs: { readonly path: string; readonly size: number }[] = [];
  for (const algorithm of ["sha256", "sha512"]) {
    for await (const name of namesIn(directory, `blobs/${algorithm}`)) {
      const path = `blobs/${algorithm}/${name}`;
      const size = await sizeOf(directory, path);
      if (size === undefined) continue;
      if (size > largestBlob) throw new LayoutError("too_large", `${path} has ${size} bytes`);
      blobs.push({ path, size });
      if (blobs.length > maxEntries)
        throw new LayoutError("too_large", `${directory} has more than ${maxEntries} blobs`);
    }
  }
  blobs.sort((a, b) => a.size - b.size);
  for (const { path, size } of blobs) yield { path, size, bytes: () => bytesOf(directory, path) };
}

async function* namesIn(directory: string, path: string): AsyncGenerator<string> {
  for (const each of ["blobs", path]) {
    const found = await orUndefined(lstat(join(directory, each)));
    if (found === undefined) return;
    if (!found.isDirectory())
      throw new LayoutError("hostile", `${each} is no directory: a layout has no links`);
  }
  for await (const { name } of await opendir(join(directory, path))) yield name;
}

/** Undefined: it is not there. Throws LayoutError for what is no file. */
async function sizeOf(directory: string, path: string): Promise<number | undefined> {
  const found = await orUndefined(lstat(join(directory, path)));
  if (found === undefined) return undefined;
  if (!found.isFile()) throw new LayoutError("hostile", `${path} is no file: a layout has no links`);
  return found.size;
}

async function* bytesOf(directory: string, path: string): AsyncGenerator<Buffer> {
  const file = await open(join(directory, path), constants.O_RDONLY | constants.O_NOFOLLOW);
  yield* file.createReadStream({ highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>;
}

async function orUndefined<Found>(asked: Promise<Found>): Promise<Found | undefined> {
  try {
    return await asked;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
