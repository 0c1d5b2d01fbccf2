// A layout in a tar, read once from its beginning to its end. Nothing of it becomes a file or a path here; what no layout has, and a
// program that unpacks tars may be harmed by, is refused all the same, so that it is not taken for a good one and passed on.
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract, type Header } from "tar-stream";
import { LayoutError } from "./layout-error.ts";
import { type LayoutEntry, type LayoutSource, largestBlob, maxEntries } from "./layout-source.ts";

/** Characters of a path; the longest one of a layout has 141. */
const longestPath = 255;
/** Characters of a path in a message. */
const longestShown = 100;

/** `name`: of the tar, in messages. The stream is read to its end, or destroyed. */
export async function* tarSource(name: string, stream: Readable): LayoutSource & AsyncGenerator<LayoutEntry> {
  const entries = extract();
  const reading = pipeline(stream, entries);
  // Told by the entries.
  reading.catch(() => {});
  const failed = (error: unknown): LayoutError =>
    error instanceof LayoutError
      ? error
      : new LayoutError("not_a_layout", `${name} cannot be read as a tar: ${(error as Error).message}`, {
          cause: error,
        });
  async function* bytesOf(entry: AsyncIterable<unknown>): AsyncGenerator<Buffer> {
    try {
      yield* entry as AsyncIterable<Buffer>;
    } catch (error) {
      throw failed(error);
    }
  }
  let count = 0;
  try {
    for await (const entry of entries) {
      if (++count > maxEntries)
        throw new LayoutError("too_large", `${name} has more than ${maxEntries} entries`);
      const found = entryOf(entry.header);
      if (found !== undefined) yield { ...found, bytes: () => bytesOf(entry) };
      entry.resume();
    }
    await reading;
  } catch (error) {
    throw failed(error);
  } finally {
    entries.destroy();
    stream.destroy();
  }
}

/** Undefined: nothing to be read. Throws LayoutError. */
function entryOf({ name, type, size = 0 }: Header): Pick<LayoutEntry, "path" | "size"> | undefined {
  if (type === "directory" && /^\.?\/*$/.test(name)) return undefined;
  const path = name.replace(/^(?:\.\/)+/, "").replace(/\/+$/, "");
  const shown = JSON.stringify(name.slice(0, longestShown));
  if (name.length > longestPath)
    throw new LayoutError("hostile", `a path of ${name.length} characters, ${shown}…, is none of a layout`);
  if (path === "" || path.startsWith("/") || /[\\\0]/.test(path) || path.split("/").includes(".."))
    throw new LayoutError("hostile", `the path ${shown} leads out of the layout`);
  if (type === "directory") return undefined;
  if (type !== "file" && type !== "contiguous-file")
    throw new LayoutError(
      "hostile",
      `${shown} is a ${type ?? "thing of an unknown kind"}: a layout has files only`,
    );
  if (!(Number.isSafeInteger(size) && size >= 0 && size <= largestBlob))
    throw new LayoutError("too_large", `${shown} is said to have ${size} bytes`);
  return { path, size };
}
