// wrk: as many requests as the server answers, over connections that are kept open.
import { fileURLToPath } from "node:url";
import { run } from "../system/fixtures/child.ts";
import type { Place } from "./place.ts";

const script = fileURLToPath(new URL("./wrk.lua", import.meta.url));

export interface WrkOptions {
  readonly base: URL;
  /** Asked for in turn. */
  readonly paths: readonly [string, ...string[]];
  /** Media types of the Accept header. */
  readonly accept?: string;
  readonly authorization?: string;
  readonly seconds: number;
  readonly connections?: number;
  readonly place: Place;
}

export interface WrkResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Of bodies and headers. */
  readonly bytes: number;
  /** Status 400 and up, broken and refused connections, no answer within half a minute. */
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Runs it to the end. Rejects when it cannot run; what failed of the requests is counted. */
export async function wrk(options: WrkOptions): Promise<WrkResult> {
  const { base, paths, accept, authorization, seconds, connections = 32, place } = options;
  const [command = "wrk", ...rest] = [...place.prefix, "wrk"];
  // Without a time-out of its own wrk counts what takes 2 s as failed; a busy machine may stand still for as long.
  const flags = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "30s", "-s", script];
  if (accept !== undefined) flags.push("-H", `Accept: ${accept}`);
  if (authorization !== undefined) flags.push("-H", `Authorization: ${authorization}`);
  const more = paths.length > 1 ? ["--", ...paths] : [];
  const url = new URL(paths[0], base).href;
  const output = await run(command, [...rest, ...flags, url, ...more], { timeout: (seconds + 30) * 1000 });
  const line = output.split("\n").find((candidate) => candidate.startsWith("{"));
  if (line === undefined) throw new Error(`wrk said nothing of its results\n${output}`);
  const { requests, microseconds, bytes, failed, p50, p99 } = JSON.parse(line) as Record<string, number> & {
    [name in "requests" | "microseconds" | "bytes" | "failed" | "p50" | "p99"]: number;
  };
  return {
    requests,
    perSecond: requests / (microseconds / 1e6),
    bytes,
    failed,
    p50Ms: p50 / 1000,
    p99Ms: p99 / 1000,
  };
}
