// Network namespaces of this process. They are named after it, so that what a killed run has left is known and swept.
// Made by Linux's `ip`, as root. Every call waits for it: the last ones are made while this process exits.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { searchPath } from "../system/fixtures/requires.ts";
import type { Cleanup } from "../system/fixtures/work-directory.ts";

/** Where `ip` keeps their names. */
const directory = "/run/netns";
const ownerOf = /^entrepot-bench-(\d+)-/;
const own = `entrepot-bench-${process.pid}-`;

/** Makes one with its loopback up and gives its full name. `name` is unique among those of this process. */
export function makeNamespace(name: string): string {
  const full = `${own}${name}`;
  ip("netns", "add", full);
  try {
    ip("-n", full, "link", "set", "lo", "up");
  } catch (error) {
    removeNamespace(full);
    throw error;
  }
  return full;
}

/** Takes away the name; what runs in it keeps the namespace until it ends. Does nothing when there is none. */
export function removeNamespace(full: string): void {
  if (existing().includes(full)) ip("netns", "delete", full);
}

/** Removes all those of this process at the end of `t`, or when the process exits before. */
export function removeNamespacesAfter(t: Cleanup): void {
  const remove = (): void => {
    for (const full of existing()) if (full.startsWith(own)) removeNamespace(full);
  };
  process.once("exit", remove);
  t.teardown(() => {
    process.off("exit", remove);
    remove();
  });
}

/** Removes those of processes that are no more, with what still runs in them. */
export function sweepNamespaces(): void {
  for (const full of existing()) {
    const owner = ownerOf.exec(full)?.[1];
    if (owner === undefined || signal(Number(owner), 0)) continue;
    for (const pid of ip("netns", "pids", full).split("\n").filter(Boolean)) signal(Number(pid), "SIGKILL");
    removeNamespace(full);
  }
}

/** Runs `ip` and gives what it prints. Throws with what it says when it fails. */
export function ip(...args: readonly string[]): string {
  const env = { ...process.env, PATH: searchPath };
  return execFileSync("ip", args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function existing(): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // It comes with the first namespace.
  }
}

/** False when there is no such process. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
