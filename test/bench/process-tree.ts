// What a process and everything it started cost, from /proc (proc_pid_stat, proc_pid_status). Linux only. Read with
// blocking calls: a measurement begins and ends at a point in time, not at a callback.
import { readdirSync, readFileSync } from "node:fs";

/** One second in the clock ticks of /proc; 100 on every architecture Linux still supports. */
const ticksPerSecond = 100;

/** Seconds of processor time, user and system, of the process, its descendants, and those it has waited for. */
export function cpuSecondsOf(root: number): number {
  // utime, stime, cutime, cstime: fields 14 to 17.
  return sumOfTree(root, (pid) => sum(statOf(pid).slice(11, 15), Number)) / ticksPerSecond;
}

/** Bytes: the highest resident memory each process of the tree has had, added up. */
export function peakRssOf(root: number): number {
  return sumOfTree(root, (pid) => {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) * 1024;
  });
}

/** Bytes of memory of all processes of the tree (proc_pid_smaps_rollup), shared pages counted once. */
export function pssOf(root: number): number {
  return sumOfTree(root, (pid) => {
    const smaps = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
    return Number(/^Pss:\s+(\d+) kB$/m.exec(smaps)?.[1] ?? Number.NaN) * 1024;
  });
}

/** Whether a process of the tree `root` listens on this TCP port, whatever its network namespace. */
export function listensOn(root: number, port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  // Columns: number, local address, remote address, state; 0A is TCP_LISTEN.
  const lines = readFileSync(`/proc/${root}/net/tcp`, "latin1").split("\n");
  return lines.some((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return local?.endsWith(wanted) && state === "0A";
  });
}

/** A descendant that ends while the tree is read counts for nothing: nginx's cache loader does, a minute after its start. */
function sumOfTree(root: number, value: (pid: number) => number): number {
  return sum(treeOf(root), (pid) => {
    try {
      return value(pid);
    } catch (error) {
      if (pid === root) throw error;
      return 0;
    }
  });
}

function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const parent = parentOf(pid);
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const tree: number[] = [];
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    tree.push(pid);
    open.push(...(children.get(pid) ?? []));
  }
  return tree;
}

/** Undefined when the process has gone meanwhile. */
function parentOf(pid: number): number | undefined {
  try {
    return Number(statOf(pid)[1]);
  } catch {
    return undefined;
  }
}

/** The fields from the third one on; the second is the name, which may hold blanks and brackets. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
