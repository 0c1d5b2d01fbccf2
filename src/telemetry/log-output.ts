// The end of the log: lines to a file descriptor, without ever blocking, failing or growing without bound.
// Not pino's own asynchronous destination: when the descriptor's disk is full, that one raises an uncaught error
// in mid-flight and spins for ever at exit (sonic-boom 4, flushSync; seen with /dev/full).
import { write } from "node:fs";

/** What a logger writes to. */
export interface LogOutput {
  /** Takes one whole line. Never throws. */
  write(line: string): void;
  /** Resolves when everything taken so far is written or given up, after a second at the latest. */
  flush(): Promise<void>;
  /** Lines lost so far, because the reader was too slow or the disk full. */
  readonly lost: number;
}

/** UTF-16 units waiting for the descriptor; later lines are lost. */
const maxPending = 4 * 1024 * 1024;
/** Milliseconds before a descriptor that is not ready is tried again. */
const retryDelay = 5;
const flushTimeout = 1000;

/**
 * Writes to an open descriptor, one write at a time; the lines that arrive meanwhile make up the next one. `onLost` is
 * told of lines lost, as they are.
 */
export function openLogOutput(descriptor: number, onLost: (lines: number) => void = () => {}): LogOutput {
  let pending: string[] = [];
  let pendingLength = 0;
  let writing = false;
  let lost = 0;
  const idle: (() => void)[] = [];

  function lose(lines: number): void {
    lost += lines;
    onLost(lines);
  }

  function writeNext(): void {
    const lines = pending.length;
    writing = lines > 0;
    if (!writing) {
      for (const wake of idle.splice(0)) wake();
      return;
    }
    const batch = Buffer.from(pending.join(""));
    pending = [];
    pendingLength = 0;
    writeRest(batch, lines);
  }

  function writeRest(batch: Buffer, lines: number): void {
    write(descriptor, batch, (error, written) => {
      if (error?.code === "EAGAIN") {
        setTimeout(writeRest, retryDelay, batch, lines).unref();
      } else if (error) {
        lose(lines);
        writeNext();
      } else if (written < batch.length) {
        writeRest(batch.subarray(written), lines);
      } else {
        writeNext();
      }
    });
  }

  return {
    write(line) {
      if (pendingLength + line.length > maxPending) {
        lose(1);
        return;
      }
      pending.push(line);
      pendingLength += line.length;
      if (!writing) writeNext();
    },
    async flush() {
      if (!writing) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      idle.push(resolve);
      const timer = setTimeout(resolve, flushTimeout);
      await promise;
      clearTimeout(timer);
    },
    get lost() {
      return lost;
    },
  };
}
