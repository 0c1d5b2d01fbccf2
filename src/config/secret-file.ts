// A secret in a file that is replaced while the program runs: by an editor, by rename, or by the symbolic links
// Kubernetes swaps.
import { open, stat } from "node:fs/promises";
import { readAtMost } from "../ports/bounded-file.ts";
import { fileVersion } from "../ports/file-version.ts";
import type { Secret, SecretSource } from "../ports/secret.ts";
import { reasonOf } from "./read-text.ts";

/** Milliseconds between two looks at the file. */
const checkInterval = 1_000;
/** Larger files are no secrets; in bytes. */
const maxBytes = 64 * 1024;

export interface SecretFile {
  readonly path: string;
  /** The path as it may appear in a message. */
  readonly name: string;
  /** What the file held at start. */
  readonly initial: Secret;
  /** Undefined for a content that is no such secret. */
  readonly parse: (text: string) => Secret | undefined;
  /** Milliseconds. */
  readonly clock?: () => number;
}

/**
 * The secret a file holds. It is looked at when the secret is read, at most once a second, and read again when it
 * has become another file or another version. While it is missing, unreadable or empty the last good secret stays.
 */
export function secretFile(file: SecretFile): SecretSource {
  return new WatchedFile(file);
}

class WatchedFile implements SecretSource {
  readonly #file: SecretFile;
  readonly #clock: () => number;
  #secret: Secret;
  #problem: string | undefined;
  /** Identity of the version last read; undefined when the next look must read. */
  #version: string | undefined;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> | undefined;

  constructor(file: SecretFile) {
    this.#file = file;
    this.#clock = file.clock ?? Date.now;
    this.#secret = file.initial;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  read(): Promise<Secret> | Secret {
    if (this.#checking === undefined) {
      const now = this.#clock();
      // The distance, not the difference: a clock that was set back must not stop the looking.
      if (Math.abs(now - this.#checkedAt) < checkInterval) return this.#secret;
      this.#checkedAt = now;
      this.#checking = this.#check().finally(() => {
        this.#checking = undefined;
      });
    }
    return this.#checking.then(() => this.#secret);
  }

  async #check(): Promise<void> {
    try {
      const status = await stat(this.#file.path, { bigint: true });
      if (fileVersion(status) === this.#version) return;
      // Opening a pipe would wait for somebody to write into it.
      if (!status.isFile()) this.#keep("is no regular file");
      else await this.#reread();
    } catch (error) {
      this.#keep(`cannot be read (${reasonOf(error)})`);
    }
  }

  async #reread(): Promise<void> {
    const handle = await open(this.#file.path);
    try {
      // Of what was opened: between the look and the opening the file may have been replaced.
      const version = fileVersion(await handle.stat({ bigint: true }));
      const text = await readAtMost(handle, maxBytes);
      const secret = text === undefined ? undefined : this.#file.parse(text);
      if (secret === undefined) this.#keep("has become empty or something else than a secret");
      else this.#take(secret);
      this.#version = version;
    } finally {
      await handle.close();
    }
  }

  #take(secret: Secret): void {
    this.#problem = undefined;
    if (secret.reveal() !== this.#secret.reveal()) this.#secret = secret;
  }

  #keep(why: string): void {
    this.#version = undefined;
    this.#problem = `${this.#file.name} ${why}: the secret it held before stays in use`;
  }
}
