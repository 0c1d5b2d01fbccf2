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

/** Bytes of the buffers that lines are gathered in. */
const batchSize = 64 * 1024;
/** Bytes of the buffers that wait for the descriptor; later lines are lost. */
const maxWaiting = 4 * 1024 * 1024;
/** Milliseconds a line waits for others: a write for each wakes a thread, and costs more than making the line. */
const gatherTime = 5;
/** Milliseconds before a descriptor that is not ready is tried again. */
const retryDelay = 5;
const flushTimeout = 1000;

/** Lines as bytes: as strings that wait they would grow old enough for V8's slow collector. */
interface Batch {
  readonly bytes: Buffer;
  length: number;
  lines: number;
}

/**
 * Writes to an open descriptor, one write at a time, each of the lines of some milliseconds. `onLost` is told of lines
 * lost, as they are.
 */
export function openLogOutput(descriptor: number, onLost: (lines: number) => void = () => {}): LogOutput {
  /** Oldest first; the last one takes lines. */
  const waiting: Batch[] = [];
  let spare: Batch | undefined;
  let heldBytes = 0;
  let writing = false;
  let timer: NodeJS.Timeout | undefined;
  let lost = 0;
  const idle: (() => void)[] = [];

  function lose(lines: number): void {
    lost += lines;
    onLost(lines);
  }

  /** The batch that takes this line; undefined when too much waits already. */
  function batchFor(line: string): Batch | undefined {
    const last = waiting.at(-1);
    const room = last === undefined ? 0 : last.bytes.length - last.length;
    // A UTF-16 unit has at most three bytes, so most lines need not be measured.
    if (line.length * 3 <= room) return last;
    const length = Buffer.byteLength(line);
    if (length <= room) return last;
    const size = Math.max(length, batchSize);
    if (heldBytes + size > maxWaiting) return undefined;
    heldBytes += size;
    const batch = size === batchSize && spare !== undefined ? spare : emptyBatch(size);
    if (batch === spare) spare = undefined;
    waiting.push(batch);
    return batch;
  }

  function writeNext(): void {
    clearTimeout(timer);
    timer = undefined;
    const batch = waiting.shift();
    writing = batch !== undefined;
    if (batch !== undefined) writeRest(batch, 0);
    else for (const wake of idle.splice(0)) wake();
  }

  function writeRest(batch: Batch, from: number): void {
    write(descriptor, batch.bytes, from, batch.length - from, null, (error, written) => {
      if (error?.code === "EAGAIN") {
        setTimeout(writeRest, retryDelay, batch, from).unref();
        return;
      }
      if (error === null && from + written < batch.length) return writeRest(batch, from + written);
      if (error !== null) lose(batch.lines);
      done(batch);
    });
  }

  function done(batch: Batch): void {
    heldBytes -= batch.bytes.length;
    if (batch.bytes.length === batchSize) {
      batch.length = 0;
      batch.lines = 0;
      spare = batch;
    }
    writing = false;
    if (waiting.length > 1 || idle.length > 0) writeNext();
    else if (waiting.length === 1) gather();
  }

  function gather(): void {
    timer ??= setTimeout(writeNext, gatherTime);
  }

  return {
    write(line) {
      const batch = batchFor(line);
      if (batch === undefined) {
        lose(1);
        return;
      }
      batch.length += batch.bytes.write(line, batch.length);
      batch.lines += 1;
      if (writing) return;
      if (waiting.length > 1) writeNext();
      else gather();
    },
    async flush() {
      if (!writing && waiting.length === 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      idle.push(resolve);
      if (!writing) writeNext();
      const timeout = setTimeout(resolve, flushTimeout);
      await promise;
      clearTimeout(timeout);
    },
    get lost() {
      return lost;
    },
  };
}

function emptyBatch(size: number): Batch {
  return { bytes: Buffer.allocUnsafeSlow(size), length: 0, lines: 0 };
}
