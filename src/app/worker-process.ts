// What runs in a worker process: the worker, over the files of the cache directory.
import cluster from "node:cluster";
import { Socket } from "node:net";
import { Layout } from "../storage/disk/layout.ts";
import { openSpooled, openStored } from "../storage/disk/reader.ts";
import type { WorkerFiles } from "../workers/answering.ts";
import { WorkerNode } from "../workers/worker.ts";
import { eventsDescriptor } from "../workers/workers.ts";
import { connectionLimit } from "./connection-limit.ts";

/** Never resolves: the primary ends this process. Throws Error in a process that no primary has started. */
export function runWorker(): Promise<never> {
  const { worker } = cluster;
  if (worker === undefined) throw new Error("a worker is started by the mirror, not by hand");
  const maxConnections = connectionLimit();
  const openFiles = (directory: string): WorkerFiles => {
    const layout = new Layout(directory);
    return {
      open: (digest) => openStored(layout, digest),
      openSpool: (_digest, path, size) => openSpooled(path, size),
    };
  };
  const events = new Socket({ fd: eventsDescriptor, readable: false, writable: true });
  new WorkerNode({ worker, openFiles, maxConnections, events });
  return new Promise(() => {});
}
