// A client that costs next to nothing, so that the server is what is measured: discard.py throws away in the kernel what it
// gets.
import { fileURLToPath } from "node:url";
import { run } from "../system/fixtures/child.ts";
import type { Place } from "./place.ts";

const program = fileURLToPath(new URL("./discard.py", import.meta.url));

export interface DiscardOptions {
  readonly base: URL;
  readonly paths: readonly string[];
  readonly connections: number;
  /** How long they are asked for in turn; 0: once each. */
  readonly seconds: number;
  readonly place: Place;
}

export interface Discarded {
  /** Of whole bodies. */
  readonly bytes: number;
  readonly bodies: number;
  /** Answers that were no complete 200. */
  readonly failed: number;
  readonly seconds: number;
}

/** Runs it to the end. Rejects when it cannot run; what failed of the answers is counted. */
export async function discard({
  base,
  paths,
  connections,
  seconds,
  place,
}: DiscardOptions): Promise<Discarded> {
  const [command = "python3", ...rest] = [...place.prefix, "python3", program];
  const args = [base.hostname, base.port, String(connections), String(seconds), ...paths];
  return JSON.parse(await run(command, [...rest, ...args], { timeout: (seconds + 120) * 1000 })) as Discarded;
}
