// One program of the bench that listens, and what it has cost so far.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Child } from "../system/fixtures/child.ts";
import { until } from "../system/fixtures/until.ts";
import type { Place } from "./place.ts";
import { cpuSecondsOf, listensOn, peakRssOf, pssOf } from "./process-tree.ts";

/** A running server. The two readings throw once it has stopped. */
export interface Server {
  readonly name: string;
  readonly url: URL;
  /** User and system time since the start, all its processes together. */
  cpuSeconds(): number;
  /** Bytes: the highest resident memory of each of its processes, added up. */
  peakRss(): number;
  /** Bytes of memory its processes have now, what several of them share divided among those. */
  pss(): number;
  stop(): Promise<void>;
}

/** What every `start…` of a server takes. */
export interface ServerOptions {
  /** Base URL of what it mirrors. */
  readonly upstream: URL;
  /** An empty directory of its own: configuration, log, cache. */
  readonly directory: string;
  readonly place: Place;
  /** That answer clients; 1 when left out. Distribution is one with a thread for each core it may use. */
  readonly processes?: number;
  /** What its cache may take; a bound that is never met unless given. */
  readonly room?: Room;
}

export interface Room {
  /** Of blobs. */
  readonly bytes: number;
  /** Bytes below which a blob is a small one. */
  readonly smallBlob: number;
}

export interface Program {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly directory: string;
  readonly place: Place;
  readonly port: number;
  /** SIGKILL unless given: nothing a server of the bench has is kept. */
  readonly stopSignal?: NodeJS.Signals;
}

/**
 * Starts it with both output streams in `directory`/output.log, and resolves when its port is listened on. Rejects
 * with the output when it ends before, or after 20 s. It does not outlive this process.
 */
export async function startProgram(program: Program): Promise<Server> {
  const { name, place, directory, port, stopSignal = "SIGKILL" } = program;
  const log = outputOf(directory);
  // A pipe would make the load generator's core read what the server logs.
  const [first = "sh", ...rest] = [...place.prefix, "sh", "-c", 'exec "$@" >"$0" 2>&1', log];
  const child = new Child({ teardown: () => {} }, first, [...rest, program.command, ...program.args], {
    env: program.env,
    cwd: directory,
  });
  try {
    await until(`${name} listens`, async () => {
      if (!child.running) throw new Error(`${name} ended`);
      return listensOn(child.pid, port);
    });
  } catch (error) {
    await child.stop("SIGKILL");
    const output = await readFile(log, "utf8").catch(() => "");
    throw new Error(`${name} did not start\n${child.output()}\n${output}`, { cause: error });
  }
  return {
    name,
    url: new URL(`http://${place.address}:${port}`),
    cpuSeconds: () => cpuSecondsOf(child.pid),
    peakRss: () => peakRssOf(child.pid),
    pss: () => pssOf(child.pid),
    stop: async () => void (await child.stop(stopSignal)),
  };
}

/** The file that has both output streams of the server in this directory. */
export function outputOf(directory: string): string {
  return join(directory, "output.log");
}
