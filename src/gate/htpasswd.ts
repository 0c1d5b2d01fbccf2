// The file of users that Apache's htpasswd writes. Of its hashes only bcrypt is taken: the others are no protection once
// the file is known.
import { isCallerName } from "./caller.ts";

/** Hashes of passwords by name. At least one. */
export type Users = ReadonlyMap<string, string>;

/** A file is no larger, in characters. */
export const largestHtpasswd = 1024 * 1024;
/** A hash that takes a second and more would keep others from logging in. */
const maxCost = 14;
const minCost = 4;
const bcrypt = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;

/** The users, or what is wrong with the file and how to put it right, on one line. It shows nothing of the file. */
export function parseHtpasswd(text: string): { readonly users: Users } | { readonly problem: string } {
  if (text.length > largestHtpasswd) return { problem: "it is larger than 1 MiB" };
  const users = new Map<string, string>();
  for (const [index, written] of text.split("\n").entries()) {
    const line = written.trim();
    if (line === "" || line.startsWith("#")) continue;
    const at = `line ${index + 1}`;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    if (!isCallerName(name))
      return { problem: `${at} is not NAME:HASH; write it with htpasswd -B FILE NAME` };
    const [, cost] = bcrypt.exec(line.slice(colon + 1)) ?? [];
    if (cost === undefined)
      return { problem: `${at} has no bcrypt hash; write it again with htpasswd -B FILE NAME` };
    if (Number(cost) < minCost || Number(cost) > maxCost)
      return {
        problem: `${at} has a cost of ${cost}; use one up to ${maxCost}: htpasswd -B -C 10 FILE NAME`,
      };
    if (users.has(name))
      return { problem: `${at} has a user again that is there already; delete one of the two` };
    users.set(name, line.slice(colon + 1));
  }
  return users.size === 0 ? { problem: "it has no users; add one with htpasswd -B FILE NAME" } : { users };
}
