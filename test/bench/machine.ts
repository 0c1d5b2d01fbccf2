// The machine the bench runs on: what it is, and which cores do what.
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { version } from "../../src/version.ts";
import { attempt, run } from "../system/fixtures/child.ts";
import { onCores, type Place } from "./place.ts";

export interface Places {
  /** One core each: the mirror that is measured, and others beside it. The third has that of the first when there are two. */
  readonly mirrors: readonly [Place, Place, Place];
  /** Clients and the far registry beside one mirror: every other core. */
  readonly load: Place;
  /** The same beside so many mirrors: the cores these leave, or all when there are no others. */
  loadBeside(mirrors: number): Place;
  /** The cores of a server that may have so many, and what is left to the load: all of them when nothing is. */
  sharing(processes: number): { readonly servers: Place; readonly load: Place };
}

/** Throws on a machine with one core: a mirror that shares it with its clients is not measured. */
export function placesOf(cores = availableParallelism()): Places {
  if (cores < 2)
    throw new Error("the bench needs two cores: one for the mirror, one for clients and upstream");
  const from = (first: number): string => `${first}-${cores - 1}`;
  const loadBeside = (used: number): Place => onCores(from(used < cores ? used : 0));
  return {
    mirrors: [onCores("0"), onCores("1"), onCores(cores > 2 ? "2" : "0")],
    load: loadBeside(1),
    loadBeside,
    sharing: (processes) => ({
      servers: onCores(`0-${Math.min(processes, cores) - 1}`),
      load: loadBeside(processes),
    }),
  };
}

/** Moves this process to the place of the clients: it is one. */
export async function moveTo(place: Place): Promise<void> {
  const [command = "taskset", ...flags] = place.prefix;
  await run(command, ["-a", "-p", ...flags, String(process.pid)]);
}

/** Facts for the head of the report, by name. */
export async function machineFacts(): Promise<Readonly<Record<string, string>>> {
  const versionOf = async (command: string, flag: string): Promise<string> => {
    // wrk says its version and ends with 1; nginx says it on the error stream.
    const { output } = await attempt(command, [flag]);
    return /\d+\.\d+(?:\.\d+)*/.exec(output)?.[0] ?? "unknown";
  };
  const congestion = readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "latin1").trim();
  return {
    cores: `${availableParallelism()} × ${cpus()[0]?.model ?? "unknown"}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `${release()}, TCP ${congestion}`,
    Entrepôt: `${version} on Node ${process.versions.node}`,
    nginx: await versionOf("nginx", "-v"),
    HAProxy: await versionOf("haproxy", "-v"),
    wrk: await versionOf("wrk", "-v"),
  };
}
