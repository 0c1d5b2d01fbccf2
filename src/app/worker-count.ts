// How many worker processes a node runs.
import { availableParallelism, totalmem } from "node:os";

const most = 8;
/** Bytes left to the primary, and for each worker. */
export const forPrimary = 400 * 1024 * 1024;
export const forWorker = 150 * 1024 * 1024;

/** What processes may use: cores, and bytes of memory, of the machine or of the cgroup where that has less. */
export interface Machine {
  readonly cores: number;
  readonly memory: number;
}

/**
 * `auto`: as many as there are cores, at most 8, and no more than there is memory for. One means that the process itself
 * answers the clients.
 */
export function workerCount(workers: number | "auto" = 1, { cores, memory }: Machine): number {
  if (workers !== "auto") return workers;
  return Math.max(1, Math.min(most, cores, Math.floor((memory - forPrimary) / forWorker)));
}

/** This machine, for a process that may use so many bytes; 0: all there are. */
export function machineWith(memoryLimit: number): Machine {
  return {
    cores: availableParallelism(),
    memory: Math.min(totalmem(), memoryLimit || Number.POSITIVE_INFINITY),
  };
}
