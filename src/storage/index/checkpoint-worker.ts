// The thread that copies the write-ahead log of the index into its file, and waits for the disk instead of the event
// loop.
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { type CheckpointAnswer, type CheckpointWork, gateStates } from "./checkpoints.ts";

const work = workerData as CheckpointWork;
parentPort?.on("message", () => parentPort?.postMessage(checkpoint(work)));

function checkpoint({ location, gate }: CheckpointWork): CheckpointAnswer {
  if (Atomics.compareExchange(gate, 0, gateStates.idle, gateStates.working) !== gateStates.idle)
    return { pages: 0 };
  try {
    // A connection for each checkpoint: between two of them `close` has nothing to wait for.
    const database = new DatabaseSync(new URL(location));
    try {
      // Passive: neither waits for readers and writers nor makes them wait.
      return { pages: Number(database.prepare("PRAGMA wal_checkpoint(PASSIVE)").get()?.log) };
    } finally {
      database.close();
    }
  } catch (error) {
    const errcode = error instanceof Error && "errcode" in error ? Number(error.errcode) : undefined;
    return { message: String(error), errcode };
  } finally {
    Atomics.store(gate, 0, gateStates.idle);
    Atomics.notify(gate, 0);
  }
}
