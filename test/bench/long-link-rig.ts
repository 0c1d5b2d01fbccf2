// Network namespaces with long links between them: a far one for upstream, near ones for mirrors and their clients.
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Child } from "../system/fixtures/child.ts";
import { available, searchPath } from "../system/fixtures/requires.ts";
import type { Cleanup } from "../system/fixtures/work-directory.ts";
import type { Place } from "./place.ts";

const linkProgram = fileURLToPath(new URL("link.py", import.meta.url));
const python = "/usr/bin/python3";
const namespaceDirectory = "/run/netns";
const namespaceName = /^entrepot-bench-(\d+)-/;
const own = `entrepot-bench-${process.pid}`;

/**
 * Of the far end; the near ones follow. From 198.18.0.0/15, which RFC 2544 sets aside for benchmarks. They are on `lo`,
 * so that they outlive a link.
 */
const farAddress = "198.18.0.1";
const nearAddress = (number: number): string => `198.18.1.${number}`;
/** Near ends a rig can have in all. */
const mostNear = 254;

export interface LinkShape {
  /** Speed of each direction, in Mbit/s of IP packets. */
  readonly mbit: number;
  /** A packet there and one back, in milliseconds. */
  readonly roundTrip: number;
  /** Of the packets of each direction, in percent. */
  readonly loss: number;
  /** Chooses which packets are lost. */
  readonly seed: number;
}

/** What one direction carried: IP packets and their bytes, how many were lost, how many found the queue full. */
export interface DirectionCounts {
  readonly packets: number;
  readonly bytes: number;
  readonly lost: number;
  readonly overflowed: number;
}

export interface LinkCounts {
  /** From near to far. */
  readonly up: DirectionCounts;
  readonly down: DirectionCounts;
}

/** The far end, for the upstream registry, and any number of near ones with a link of their own to it. */
export interface LongLinkRig {
  readonly far: Place;
  /** A new near end. It goes with `remove` or at the end of `t`. At most 254 in the life of a rig. */
  near(t: Cleanup, shape: LinkShape): Promise<NearEnd>;
}

/** For a mirror and its clients. It has a loopback of its own. */
export interface NearEnd {
  readonly place: Place;
  /** Takes the link away, and then the namespace; what still runs in it hangs. Gives what the link carried. */
  remove(): Promise<LinkCounts>;
}

/** Why this machine cannot have the rig; undefined when it can. */
export function longLinkMissing(): string | undefined {
  const missing = ["linux", "root", "ip", "python3"].filter((program) => !available(program));
  if (missing.length > 0)
    return `needs ${missing.join(", ")} (test/system/install-debian.sh installs the programs)`;
  try {
    closeSync(openSync("/dev/net/tun", "r+"));
  } catch (error) {
    return `needs TUN devices: ${String(error)}`;
  }
  const name = `${own}-probe`;
  try {
    ip("netns", "add", name);
    ip("-n", name, "link", "set", "lo", "up");
    return undefined;
  } catch (error) {
    return `needs network namespaces, and the right to set them up: ${String(error)}`;
  } finally {
    removeNamespace(name);
  }
}

/**
 * Makes the far end. All namespaces go at the end of `t` and when this process exits; what a process that was killed
 * has left, with what still runs in it, is removed here. Throws when `longLinkMissing` would give a reason.
 */
export function startLongLinkRig(t: Cleanup): LongLinkRig {
  for (const name of existingNamespaces()) removeLeftover(name);
  const remove = (): void => {
    for (const name of existingNamespaces()) if (name.startsWith(`${own}-`)) removeNamespace(name);
  };
  process.once("exit", remove);
  t.teardown(() => {
    process.off("exit", remove);
    remove();
  });
  const far = makeNamespace(`${own}-far`, farAddress);
  let count = 0;
  return {
    far,
    near: async (t, shape) => {
      count += 1;
      if (count > mostNear) throw new Error(`more than ${mostNear} near ends`);
      return await startNear(t, count, shape);
    },
  };
}

function makeNamespace(name: string, address: string): Place {
  ip("netns", "add", name);
  ip("-n", name, "link", "set", "lo", "up");
  ip("-n", name, "address", "add", `${address}/32`, "dev", "lo");
  // Reno, the same on every machine: bbr, where it is the default, hides loss. And no memory of earlier connections,
  // from which later ones would start: each measurement learns for itself.
  const settings = { tcp_congestion_control: "reno", tcp_no_metrics_save: "1" };
  for (const [setting, value] of Object.entries(settings)) {
    ip("netns", "exec", name, "sh", "-c", `echo ${value} >/proc/sys/net/ipv4/${setting}`);
  }
  return { prefix: ["ip", "netns", "exec", name], address };
}

async function startNear(t: Cleanup, number: number, shape: LinkShape): Promise<NearEnd> {
  const name = `${own}-near-${number}`;
  const place = makeNamespace(name, nearAddress(number));
  t.teardown(() => removeNamespace(name));
  const { mbit, roundTrip, loss, seed } = shape;
  const options = { mbit, "delay-ms": roundTrip / 2, "loss-percent": loss, seed };
  const program = new Child(t, python, [
    linkProgram,
    ...[name, place.address, `${own}-far`, farAddress],
    ...Object.entries(options).flatMap(([option, value]) => [`--${option}`, String(value)]),
  ]);
  await program.line((line) => (line === "ready" ? true : undefined));
  return {
    place,
    remove: async () => {
      const { code } = await program.stop("SIGTERM");
      removeNamespace(name);
      if (code !== 0) throw new Error(`the link ended with ${code}\n${program.output()}`);
      return JSON.parse(program.standardOutput().split("\n").at(-1) ?? "") as LinkCounts;
    },
  };
}

/** Ends what a process that is no more has left. */
function removeLeftover(name: string): void {
  const owner = Number(namespaceName.exec(name)?.[1]);
  if (Number.isNaN(owner) || processExists(owner)) return;
  for (const pid of ip("netns", "pids", name).split("\n").filter(Boolean))
    process.kill(Number(pid), "SIGKILL");
  removeNamespace(name);
}

function existingNamespaces(): readonly string[] {
  try {
    return readdirSync(namespaceDirectory);
  } catch {
    return []; // The directory comes with the first namespace.
  }
}

function processExists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function removeNamespace(name: string): void {
  try {
    ip("netns", "delete", name);
  } catch {
    // It is not there.
  }
}

/** Standard output; throws with standard error. Waits, since it also runs while this process exits. */
function ip(...args: readonly string[]): string {
  const env = { ...process.env, PATH: searchPath };
  return execFileSync("ip", args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
