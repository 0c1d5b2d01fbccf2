// Files written below a directory, in the places they are copied to. What is there already is somebody's: it stays.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ClientFile } from "../../client-config/mirror.ts";
import { reasonOf } from "../../config/read-text.ts";
import type { Context } from "../context.ts";

/**
 * Prints the path of each file. False, and a message on the standard error, when one is there already and says something else, and
 * then none is written, or when one cannot be written: those printed before it are.
 */
export function writeFiles(directory: string, files: readonly ClientFile[], { out, err }: Context): boolean {
  const places = files.map((file) => ({ ...file, place: join(directory, file.path.replace(/^~\//, "")) }));
  try {
    const other = places.find(({ place, text }) => (present(place) ?? text) !== text);
    if (other !== undefined) {
      const wanted = other.secret
        ? "move it away first"
        : `put this into it, or move it away first\n${other.text}`;
      err(`entrepot: ${other.place} is there already and says something else: ${wanted.trimEnd()}\n`);
      return false;
    }
    for (const { place, text, secret } of places) {
      mkdirSync(dirname(place), { recursive: true });
      if (present(place) === undefined)
        writeFileSync(place, text, { mode: secret ? 0o600 : 0o644, flag: "wx" });
      else if (secret) chmodSync(place, 0o600);
      out(`${place}\n`);
    }
    return true;
  } catch (error) {
    const { path = directory } = error as NodeJS.ErrnoException;
    err(`entrepot: --output: ${path} cannot be written (${reasonOf(error)})\n`);
    return false;
  }
}

/** Undefined: there is none. */
function present(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
