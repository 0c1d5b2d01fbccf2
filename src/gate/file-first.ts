// A file of users beside another directory: robots in the file, people in the other.
import type { Directory, Person } from "./directory.ts";
import type { HtpasswdUsers } from "./htpasswd-users.ts";

export class FileFirst implements Directory {
  readonly #file: HtpasswdUsers;
  readonly #other: Directory;

  constructor(file: HtpasswdUsers, other: Directory) {
    this.#file = file;
    this.#other = other;
  }

  /** Names in the file are nobody's elsewhere: the other directory is not asked for them, and what it calls somebody is none. */
  async find(name: string, password: Buffer): Promise<Person | undefined> {
    if (this.#file.has(name)) return await this.#file.find(name, password);
    const person = await this.#other.find(name, password);
    return person === undefined || this.#file.has(person.name) ? undefined : person;
  }

  stamp(name: string): string | undefined {
    return this.#file.stamp(name) ?? this.#other.stamp?.(name);
  }
}
