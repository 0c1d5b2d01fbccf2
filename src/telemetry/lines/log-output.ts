// Where log lines go: to a file descriptor, without ever blocking, failing or growing without bound.
// Not pino's own asynchronous destination: when the descriptor's disk is full, that one raises an uncaught error
// in mid-flight and spins for ever at exit (sonic-boom 4, flushSync; seen with /dev/full).
import { write } from "node:fs";
import { BatchedWriter } from "./batched-writer.ts";

/** What a logger writes to. */
export interface LogOutput {
  /** Takes one whole line. Never throws. */
  write(line: string): void;
  /** Resolves when everything taken so far is written or given up, after a second at the latest. */
  flush(): Promise<void>;
  /** Lines lost so far, because the reader was too slow or the disk full. */
  readonly lost: number;
}

const batchSize = 64 * 1024;
const maxBytes = 4 * 1024 * 1024;
const gatherTime = 5;
const flushTimeout = 1000;
/** Milliseconds before a descriptor that is not ready is tried again. */
const retryDelay = 5;

/** `onLost` is called with the number of lines lost, each time some are. */
export function openLogOutput(descriptor: number, onLost: (lines: number) => void = () => {}): LogOutput {
  return new BatchedWriter({
    writeBatch: async (bytes, lines) => ((await writeAll(descriptor, bytes)) ? 0 : lines),
    onLost,
    batchSize,
    maxBytes,
    gatherTime,
    keepsProcess: true,
    flushTimeout,
  });
}

/** Resolves with false when it failed. */
function writeAll(descriptor: number, bytes: Buffer): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const writeRest = (from: number): void => {
    write(descriptor, bytes, from, bytes.length - from, null, (error, written) => {
      if (error?.code === "EAGAIN") setTimeout(writeRest, retryDelay, from).unref();
      else if (error !== null) resolve(false);
      else if (from + written < bytes.length) writeRest(from + written);
      else resolve(true);
    });
  };
  writeRest(0);
  return promise;
}
