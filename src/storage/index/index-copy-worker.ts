// The thread that copies the index, and waits for the disk instead of the event loop.
import { parentPort, workerData } from "node:worker_threads";
import { type CopyWork, copyHere } from "./index-copy.ts";

parentPort?.postMessage(await copyHere(workerData as CopyWork));
