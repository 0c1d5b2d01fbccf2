// How much memory a process may use by its control groups, of version 1 and 2 (cgroups(7)): the least of its group and those
// above it. The same as process.constrainedMemory() says, but of any process.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Version 1 says the largest multiple of a page when there is no limit. */
const unlimited = 2 ** 62;

export interface CgroupPlaces {
  /** `/proc`, and where the groups are mounted. */
  readonly proc: string;
  readonly mount: string;
}

/** Bytes; undefined where nothing limits it or the system does not say. `pid` left out: this process. */
export function memoryLimitOf(
  pid: number | undefined,
  { proc, mount }: CgroupPlaces = { proc: "/proc", mount: "/sys/fs/cgroup" },
): number | undefined {
  const groups = textOf(join(proc, String(pid ?? "self"), "cgroup")) ?? "";
  const limits: number[] = [];
  for (const line of groups.split("\n")) {
    const [, controllers = "", path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    if (controllers === "") limits.push(...upwards(mount, path, "memory.max"));
    else if (controllers.split(",").includes("memory"))
      limits.push(...upwards(join(mount, "memory"), path, "memory.limit_in_bytes"));
  }
  const least = Math.min(...limits);
  return Number.isFinite(least) && least < unlimited ? least : undefined;
}

/** In a container the path may be one of the host's: what is mounted then is the container's own group. */
function upwards(mount: string, path: string, file: string): number[] {
  const found: number[] = [];
  for (let at = path; ; at = dirname(at)) {
    const limit = Number(textOf(join(mount, at, file)) ?? "max");
    if (Number.isFinite(limit)) found.push(limit);
    if (at === dirname(at)) return found;
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
