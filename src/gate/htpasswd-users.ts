// The users of a file of htpasswd as a directory.
import { createHash } from "node:crypto";
import { createCredentialKey } from "./credential-key.ts";
import type { Directory, Person } from "./directory.ts";
import type { Users } from "./htpasswd.ts";

/** Compares a password with a hash of bcrypt, off the event loop. */
export type Verify = (password: Buffer, hash: string) => Promise<boolean>;

/** What bcrypt takes of a password, in bytes; htpasswd leaves off the rest as well. */
const longestPassword = 72;

export class HtpasswdUsers implements Directory {
  readonly #verify: Verify;
  readonly #keyOf = createCredentialKey();
  #users: Users;
  #hashes: readonly string[];

  constructor(users: Users, verify: Verify) {
    this.#verify = verify;
    this.#users = users;
    this.#hashes = [...users.values()];
  }

  /** Other users from now on. Whoever remembers those before has to forget them (Passwords.forget). */
  use(users: Users): void {
    this.#users = users;
    this.#hashes = [...users.values()];
  }

  has(name: string): boolean {
    return this.#users.has(name);
  }

  async find(name: string, password: Buffer): Promise<Person | undefined> {
    const hash = this.#users.get(name);
    const same = await this.#verify(password.subarray(0, longestPassword), hash ?? this.#anyHash(name));
    return same && hash !== undefined ? { name } : undefined;
  }

  stamp(name: string): string | undefined {
    const hash = this.#users.get(name);
    return hash === undefined
      ? undefined
      : createHash("sha256").update(hash).digest("base64url").slice(0, 22);
  }

  /** The same for the same name, so that asking twice shows no difference either. */
  #anyHash(name: string): string {
    const number = Buffer.from(this.#keyOf(name), "base64").readUInt32LE();
    return this.#hashes[number % this.#hashes.length] as string;
  }
}
