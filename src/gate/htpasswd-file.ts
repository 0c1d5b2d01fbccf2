// The file of users while the program runs: looked at once a second, by itself and not by requests, and read again when it
// has become another file or another version (an editor, a rename, the symbolic links Kubernetes swaps). One that cannot be
// used changes nothing.
import { readFile, stat } from "node:fs/promises";
import type { Pause } from "../ports/clock.ts";
import { fileVersion } from "../ports/file-version.ts";
import { largestHtpasswd, parseHtpasswd, type Users } from "./htpasswd.ts";

/** Milliseconds between two looks. */
const interval = 1_000;

export interface HtpasswdFileOptions {
  readonly path: string;
  /** As it may appear in a message. */
  readonly name: string;
  /** Called with users that are not those before. */
  readonly changed: (users: Users) => void;
  /** Called once for each reason why the file cannot be used: what was read before stays in use. */
  readonly unusable: (problem: string) => void;
  /** The users read before. */
  readonly users: Users;
}

export class HtpasswdFile {
  readonly #options: HtpasswdFileOptions;
  #users: Users;
  /** Of the file last looked at; undefined before the first look, which reads it. */
  #version: string | undefined;
  #problem: string | undefined;

  constructor(options: HtpasswdFileOptions) {
    this.#options = options;
    this.#users = options.users;
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
    const { path, name } = this.#options;
    try {
      const status = await stat(path, { bigint: true });
      const version = fileVersion(status);
      if (version === this.#version) return;
      this.#version = version;
      // Opening a pipe would wait for somebody to write into it.
      if (!status.isFile()) return this.#keep(`${name} is no regular file`);
      if (status.size > largestHtpasswd) return this.#keep(`${name}: it is larger than 1 MiB`);
      const parsed = parseHtpasswd(await readFile(path, "utf8"));
      if ("problem" in parsed) return this.#keep(`${name}: ${parsed.problem}`);
      this.#problem = undefined;
      if (isSame(parsed.users, this.#users)) return;
      this.#users = parsed.users;
      this.#options.changed(parsed.users);
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

function isSame(a: Users, b: Users): boolean {
  return a.size === b.size && [...a].every(([name, hash]) => b.get(name) === hash);
}
