// What runs in a worker process: the worker, over the files of the cache directory.
import cluster from "node:cluster";
import { Socket } from "node:net";
import { Layout } from "../storage/disk/layout.ts";
import { openSpooled, openStored } from "../storage/disk/reader.ts";
import { lockAsWorker } from "../storage/disk/workers-lock.ts";
import { openOtel } from "../telemetry/otel/open-otel.ts";
import type { OtelSettings } from "../telemetry/otel/otel-options.ts";
import type { WorkerFiles } from "../workers/answering.ts";
import { descriptors } from "../workers/forked-worker.ts";
import { watchLoop } from "../workers/loop-watch.ts";
import type { WorkerOtel, WorkerTracing } from "../workers/messages.ts";
import { WorkerNode } from "../workers/worker.ts";
import { connectionLimit } from "./connection-limit.ts";

/** Never resolves: the primary ends this process. Throws Error in a process that no primary has started. */
export function runWorker(): Promise<never> {
  const { worker } = cluster;
  if (worker === undefined) throw new Error("a worker is started by the mirror, not by hand");
  watchLoop({ report: descriptors.report });
  const maxConnections = connectionLimit();
  const openFiles = (directory: string): WorkerFiles => {
    const layout = new Layout(directory);
    return {
      open: (digest) => openStored(layout, digest),
      openSpool: (_digest, path, size) => openSpooled(path, size),
    };
  };
  // Until the end of the process.
  const lock = (directory: string) => void lockAsWorker(new Layout(directory).workersLock);
  const openTracing = (
    otel: WorkerOtel,
    lost: (spans: number, reason: string) => void,
  ): Promise<WorkerTracing> => {
    // The primary exports the metrics of the node, and says what of them fails.
    const own = { headers: async () => otel.headers, ofWorkers: false, lost, metricsFailed: () => {} };
    return openOtel({ ...(otel as WorkerOtel & OtelSettings), ...own });
  };
  const events = new Socket({ fd: descriptors.events, readable: false, writable: true });
  new WorkerNode({
    worker,
    openFiles,
    lock,
    openTracing,
    maxConnections,
    events,
    clock: () => performance.now(),
  });
  return new Promise(() => {});
}
