// What the machine lets the mirror have: file handles and memory. Of the mirror that runs, where it can be seen, since a
// service has other limits than a shell.
import { openFilesLimit } from "../app/connection-limit.ts";
import { forPrimary, forWorker, machineWith, workerCount } from "../app/worker-count.ts";
import type { Config } from "../config/config.ts";
import { memoryLimitOf } from "./cgroup-memory.ts";
import { type Finding, failed, ok, type Part, skipped, warning } from "./examination.ts";

/** Handles with fewer of which a datacenter of clients is turned away, and so few that the mirror hardly works. */
const fewHandles = 8_192;
const tooFewHandles = 256;

export interface MachineOptions {
  readonly workers: Config["workers"];
  /** The mirror that runs; undefined: none is seen, and what counts is this process's. */
  readonly pid: number | undefined;
}

export async function examineMachine(part: Part, { workers, pid }: MachineOptions): Promise<void> {
  const whose = pid === undefined ? "of this shell; a service may have others" : `of process ${pid}`;
  await part.check("files", () => handlesFinding(openFilesLimit(pid) ?? openFilesLimit(), whose), {
    alone: true,
  });
  await part.check("memory", () => memoryFinding(memoryLimitOf(pid), workers, whose), { alone: true });
}

/** `limit`: RLIMIT_NOFILE. Exported for its test. */
export function handlesFinding(limit: number | undefined, whose: string): Finding {
  if (limit === undefined) return skipped("the system does not say how many files may be open");
  const seen = `${limit} files may be open (${whose})`;
  const fix = "Raise the limit: LimitNOFILE= of the unit, --ulimit nofile of the container, or ulimit -n.";
  if (limit < tooFewHandles) return failed(seen, fix);
  return limit < fewHandles ? warning(seen, fix) : ok(seen);
}

/** `limit` in bytes. Exported for its test. */
export function memoryFinding(limit: number | undefined, workers: Config["workers"], whose: string): Finding {
  const { memory } = machineWith(limit ?? 0);
  const count = workerCount(workers, machineWith(limit ?? 0));
  const needed = forPrimary + (count > 1 ? count * forWorker : 0);
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
  const seen = `${mib(memory)}${limit === undefined ? ", no limit of a cgroup" : ` by its cgroup`} (${whose})`;
  if (memory >= needed) return ok(seen);
  const fix = `Give it ${mib(needed)} at least${count > 1 ? `, or fewer workers than ${count}` : ""}.`;
  return warning(seen, fix);
}
