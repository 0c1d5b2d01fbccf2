// Network namespaces with long links between them: a far one for upstream, near ones for mirrors and their clients.
import { closeSync, existsSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Child } from "../system/fixtures/child.ts";
import { available } from "../system/fixtures/requires.ts";
import type { Cleanup } from "../system/fixtures/work-directory.ts";
import { ip, makeNamespace, removeNamespace, removeNamespacesAfter, sweepNamespaces } from "./namespaces.ts";
import type { Place } from "./place.ts";

const linkProgram = fileURLToPath(new URL("link.py", import.meta.url));
/** Debian's: another one of that name may be a wrapper that no signal passes. */
const python = "/usr/bin/python3";

/** From 198.18.0.0/15, which RFC 2544 sets aside for benchmarks. On `lo`, so that they are there before any link. */
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

/** What one direction was given in IP packets, and what became of it. */
export interface DirectionCounts {
  readonly packets: number;
  readonly lost: number;
  /** Found the queue full. */
  readonly overflowed: number;
  /** Bytes of TCP's data that arrived, those sent twice too. */
  readonly payload: number;
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
  const missing = ["linux", "root", "ip"].filter((program) => !available(program));
  if (!existsSync(python)) missing.push(python);
  if (missing.length > 0)
    return `needs ${missing.join(", ")} (test/system/install-debian.sh installs the programs)`;
  try {
    closeSync(openSync("/dev/net/tun", "r+"));
  } catch (error) {
    return `needs TUN devices: ${String(error)}`;
  }
  try {
    removeNamespace(makeNamespace("probe"));
    return undefined;
  } catch (error) {
    return `needs network namespaces, and the right to set them up: ${String(error)}`;
  }
}

/**
 * Makes the far end. It and the near ones go at the end of `t` or when this process exits before; what a process that
 * was killed has left is removed here. Throws when `longLinkMissing` would give a reason.
 */
export function startLongLinkRig(t: Cleanup): LongLinkRig {
  sweepNamespaces();
  removeNamespacesAfter(t);
  const farName = makeNamespace("far");
  const far = settle(farName, farAddress);
  let count = 0;
  return {
    far,
    near: async (t, shape) => {
      count += 1;
      if (count > mostNear) throw new Error(`more than ${mostNear} near ends`);
      return await startNear(t, farName, count, shape);
    },
  };
}

/** Gives a namespace its address, and TCP as the bench wants it. */
function settle(namespace: string, address: string): Place {
  ip("-n", namespace, "address", "add", `${address}/32`, "dev", "lo");
  const prefix = ["ip", "netns", "exec", namespace] as const;
  // Reno, the same on every machine: bbr, where it is the default, hides loss. And no memory of earlier connections,
  // from which later ones would start: each measurement learns for itself.
  const settings = { tcp_congestion_control: "reno", tcp_no_metrics_save: "1" };
  for (const [setting, value] of Object.entries(settings))
    ip(...prefix.slice(1), "sh", "-c", `echo ${value} >/proc/sys/net/ipv4/${setting}`);
  return { prefix, address };
}

async function startNear(t: Cleanup, farName: string, number: number, shape: LinkShape): Promise<NearEnd> {
  const name = makeNamespace(`near-${number}`);
  t.teardown(() => removeNamespace(name));
  const place = settle(name, nearAddress(number));
  const { mbit, roundTrip, loss, seed } = shape;
  const options = { mbit, "delay-ms": roundTrip / 2, "loss-percent": loss, seed };
  const program = new Child(t, python, [
    linkProgram,
    ...[name, place.address, farName, farAddress],
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
