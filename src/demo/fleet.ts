// Several clients pulling one image at the same moment, and what that cost, by the upstream's own counters.
import { Presets, SingleBar } from "cli-progress";
import { size } from "../ops/page/format.ts";
import type { Architecture } from "./greeting-program.ts";
import { pullImage } from "./pull.ts";
import type { Measured } from "./report.ts";
import type { DemoUpstream } from "./upstream.ts";

export interface FleetOptions {
  /** For the report. */
  readonly name: string;
  /** Where the clients pull from. */
  readonly mirror: URL;
  /** Its counters have what crossed the link. */
  readonly upstream: DemoUpstream;
  readonly repository: string;
  readonly tag: string;
  readonly architecture: Architecture;
  readonly clients: number;
  readonly signal: AbortSignal;
  /** Where a progress bar is drawn. */
  readonly terminal?: NodeJS.WritableStream | undefined;
}

/** Rejects as `pullImage` does when a client fails; the first failure ends the others. */
export async function pullTogether(options: FleetOptions): Promise<Measured> {
  const { name, clients, upstream } = options;
  const before = upstream.counts();
  const started = performance.now();
  const received = await withProgress(options.terminal, (onProgress) => pullAll(options, onProgress));
  const ms = performance.now() - started;
  const after = upstream.counts();
  const link = { requests: after.requests - before.requests, bytes: after.bytes - before.bytes };
  return { name, clients, ms, received, link };
}

/** Gives the bytes all clients received. */
async function pullAll(options: FleetOptions, onProgress: ProgressCallback): Promise<number> {
  const { mirror: registry, repository, tag, architecture } = options;
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const sum = { received: 0, total: 0 };
  const pulls = Array.from({ length: options.clients }, () => {
    let last = { received: 0, total: 0 };
    return pullImage({
      registry,
      repository,
      tag,
      platform: { os: "linux", architecture },
      signal,
      onProgress(received, total) {
        sum.received += received - last.received;
        sum.total += total - last.total;
        last = { received, total };
        onProgress(sum.received, sum.total);
      },
    });
  });
  try {
    const results = await Promise.all(pulls);
    return results.reduce((bytes, result) => bytes + result.bytes, 0);
  } finally {
    failed.abort();
    await Promise.allSettled(pulls);
  }
}

/** Bytes received so far and to be received in all; `total` grows while manifests are still being read. */
export type ProgressCallback = (received: number, total: number) => void;

/** Runs `work` with a progress bar on `terminal`; without a terminal the callback does nothing. */
export async function withProgress<T>(
  terminal: NodeJS.WritableStream | undefined,
  work: (onProgress: ProgressCallback) => Promise<T>,
): Promise<T> {
  if (terminal === undefined) return work(() => undefined);
  const format = "     {bar} {percentage} %  {done} of {all}";
  const bar = new SingleBar(
    { stream: terminal, format, barsize: 30, clearOnComplete: true, gracefulExit: false },
    Presets.shades_classic,
  );
  const sizes = (received: number, total: number) => ({
    done: size(received),
    all: size(total),
  });
  bar.start(1, 0, sizes(0, 0));
  try {
    return await work((received, total) => {
      bar.setTotal(Math.max(total, 1));
      bar.update(received, sizes(received, total));
    });
  } finally {
    bar.stop();
  }
}
