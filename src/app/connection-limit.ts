// How many connections of clients this process has file handles for.
import { readFileSync } from "node:fs";

/** Handles of the program itself before any client comes: the index, the log, sockets, and some to spare. */
const ownHandles = 64;
const fewestConnections = 16;

/**
 * Two handles for each connection, the second for the file that is sent on it. A quarter of all, and at least
 * `ownHandles`, is left to fills, connections to upstreams and stores, the index and the log. Infinite where the system
 * does not say how many handles there are.
 */
export function connectionLimit(): number {
  const handles = openFilesLimit();
  if (handles === undefined) return Number.POSITIVE_INFINITY;
  const reserve = Math.max(ownHandles, handles / 4);
  return Math.max(fewestConnections, Math.floor((handles - reserve) / 2));
}

/** File handles a process may have, this one if none is said; undefined where the system does not say. */
export function openFilesLimit(pid?: number): number | undefined {
  try {
    const limits = readFileSync(`/proc/${pid ?? "self"}/limits`, "utf8");
    const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
