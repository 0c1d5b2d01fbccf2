// How many worker processes a node runs.
import { readFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";

const most = 8;
/** Bytes left to the primary, and for each worker. */
const forPrimary = 400 * 1024 * 1024;
const forWorker = 150 * 1024 * 1024;

/**
 * `auto`: as many as there are cores, at most 8, and no more than the memory of the machine or the cgroup has room for. One
 * means that the process itself answers the clients.
 */
export function workerCount(workers: number | "auto" = 1): number {
  if (workers !== "auto") return workers;
  const room = Math.floor((memory() - forPrimary) / forWorker);
  return Math.max(1, Math.min(most, availableParallelism(), room));
}

/** Of the cgroup (version 2, or 1), where it is less than the machine's. */
function memory(): number {
  let bytes = totalmem();
  for (const path of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) {
    try {
      const limit = Number(readFileSync(path, "utf8"));
      if (limit > 0) bytes = Math.min(bytes, limit);
    } catch {
      // Another version of cgroups, or none.
    }
  }
  return bytes;
}
