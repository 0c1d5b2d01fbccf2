// The thread that copies the index's log into its file: the disk is waited for here, not in the event loop.
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { type CheckpointAnswer, type CheckpointWork, gateStates } from "./checkpoints.ts";

const work = workerData as CheckpointWork;
parentPort?.on("message", () => parentPort?.postMessage(checkpoint(work)));

function checkpoint({ location, gate }: CheckpointWork): CheckpointAnswer {
  if (Atomics.compareExchange(gate, 0, gateStates.idle, gateStates.working) !== gateStates.idle)
    return { pages: 0 };
  try {
    // A connection for each: between two of them nothing is open that a stop would have to wait for.
    const database = new DatabaseSync(new URL(location));
    try {
      // Passive: waits for nobody, and nobody waits for it.
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
