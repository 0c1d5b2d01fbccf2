// The file of users while the program runs (WatchedFile).
import { largestHtpasswd, parseHtpasswd, type Users } from "./htpasswd.ts";
import { WatchedFile, type WatchedFileOptions } from "./watched-file.ts";

export interface HtpasswdFileOptions
  extends Pick<WatchedFileOptions<Users>, "path" | "name" | "changed" | "unusable"> {
  /** The users read before. */
  readonly users: Users;
}

export class HtpasswdFile extends WatchedFile<Users> {
  constructor({ users, ...options }: HtpasswdFileOptions) {
    super({ ...options, largest: largestHtpasswd, parse: usersIn, isSame, content: users });
  }
}

function usersIn(text: string): Users | { readonly problem: string } {
  const parsed = parseHtpasswd(text);
  return "problem" in parsed ? parsed : parsed.users;
}

function isSame(a: Users, b: Users): boolean {
  return a.size === b.size && [...a].every(([name, hash]) => b.get(name) === hash);
}
