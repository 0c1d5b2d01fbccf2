// The thread that copies the index: the disk is waited for here, not in the event loop.
import { parentPort, workerData } from "node:worker_threads";
import { type CopyWork, copyHere } from "./index-copy.ts";

parentPort?.postMessage(await copyHere(workerData as CopyWork));
