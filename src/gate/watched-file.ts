// A file that is read while the program runs: looked at once a second, by itself and not by requests, and read again when it
// has become another file or another version (an editor, a rename, the symbolic links Kubernetes swaps). One that cannot be
// used changes nothing.
import { readFile, stat } from "node:fs/promises";
import type { Pause } from "../ports/clock.ts";
import { fileVersion } from "../ports/file-version.ts";

/** Milliseconds between two looks. */
const interval = 1_000;

export interface WatchedFileOptions<Content> {
  readonly path: string;
  /** As it may appear in a message. */
  readonly name: string;
  /** Bytes; a whole number of MiB. */
  readonly largest: number;
  readonly parse: (text: string) => Content | { readonly problem: string };
  readonly isSame: (a: Content, b: Content) => boolean;
  /** Called with what is not what was read before. */
  readonly changed: (content: Content) => void;
  /** Called once for each reason why the file cannot be used: what was read before stays in use. */
  readonly unusable: (problem: string) => void;
  /** Called when a file that could not be used can be again; left out: nobody has to hear of it. */
  readonly usable?: () => void;
  /** What was read before. */
  readonly content: Content;
}

export class WatchedFile<Content extends object> {
  readonly #options: WatchedFileOptions<Content>;
  #content: Content;
  /** Of the file last looked at; undefined before the first look, which reads it. */
  #version: string | undefined;
  #problem: string | undefined;

  constructor(options: WatchedFileOptions<Content>) {
    this.#options = options;
    this.#content = options.content;
  }

  /** Looks until the signal aborts. Never rejects. */
  async watch(pause: Pause, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look();
      await pause(interval, signal).catch(() => {});
    }
  }

  /** Reads the file if it is not the one last read. Never rejects. */
  async look(): Promise<void> {
    const { path, name, largest, parse, isSame } = this.#options;
    try {
      const status = await stat(path, { bigint: true });
      const version = fileVersion(status);
      if (version === this.#version) return;
      this.#version = version;
      // Opening a pipe would wait for somebody to write into it.
      if (!status.isFile()) return this.#keep(`${name} is no regular file`);
      if (status.size > largest) return this.#keep(`${name}: it is larger than ${largest / 1024 ** 2} MiB`);
      const parsed = parse(await readFile(path, "utf8"));
      if ("problem" in parsed) return this.#keep(`${name}: ${parsed.problem}`);
      if (this.#problem !== undefined) this.#options.usable?.();
      this.#problem = undefined;
      if (isSame(parsed, this.#content)) return;
      this.#content = parsed;
      this.#options.changed(parsed);
    } catch (error) {
      this.#version = undefined;
      this.#keep(`${name} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
    }
  }

  #keep(problem: string): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.unusable(problem);
  }
}
