// Requests at a fixed pace, whether earlier ones have been answered or not. A request's latency counts from when it
// was due: when all connections are busy it waits, and the wait is the server's doing. (A client that asks again only
// after the answer asks less of a slow server, and never sees the wait: coordinated omission.)
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { percentile } from "./statistics.ts";

export interface PacedLoadOptions {
  readonly base: URL;
  readonly path: string;
  readonly accept: string;
  readonly perSecond: number;
  readonly seconds: number;
  readonly connections?: number;
}

export interface PacedResult {
  readonly requests: number;
  /** Answers with another status or length than the first one, and connections that broke. */
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Milliseconds after the last request was due in which every answer must be there. */
const patience = 10_000;

/** Resolves when everything has been answered; what never is counts as failed. */
export async function pacedLoad(options: PacedLoadOptions): Promise<PacedResult> {
  const { base, path, accept, perSecond, seconds, connections = 32 } = options;
  const total = Math.round(perSecond * seconds);
  const bytes = Buffer.from(
    `GET ${path} HTTP/1.1\r\nHost: ${base.host}\r\nAccept: ${accept}\r\nConnection: keep-alive\r\n\r\n`,
  );
  const latencies: number[] = [];
  let failed = 0;
  const idle: Connection[] = [];
  const opened = Array.from({ length: connections }, () => new Connection(base, bytes));
  try {
    for (const connection of opened) {
      await connection.opened;
      idle.push(connection);
    }
    const start = performance.now();
    const dueAt = (number: number): number => start + (number / perSecond) * 1000;
    for (let asked = 0; latencies.length + failed < total; await turn()) {
      const now = performance.now();
      while (asked < total && dueAt(asked) <= now) {
        const connection = idle.pop();
        if (connection === undefined) break;
        const due = dueAt(asked);
        asked += 1;
        connection.ask((ok) => {
          if (ok) latencies.push(performance.now() - due);
          else failed += 1;
          if (!connection.broken) idle.push(connection);
        });
      }
      if (now > dueAt(total) + patience) failed = total - latencies.length;
    }
  } finally {
    for (const connection of opened) connection.close();
  }
  latencies.sort((a, b) => a - b);
  return { requests: total, failed, p50Ms: percentile(latencies, 50), p99Ms: percentile(latencies, 99) };
}

/** Not a timer: those are a millisecond apart, and latencies are a tenth of that. */
function turn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}

/** One kept-open connection with at most one request on it. Answers must have a Content-Length. */
class Connection {
  readonly opened: Promise<unknown>;
  broken = false;
  readonly #request: Buffer;
  readonly #socket: Socket;
  #answered: ((ok: boolean) => void) | undefined;
  #head = "";
  /** Bytes of the body still to come; undefined while the head is not whole. */
  #left: number | undefined;
  #ok = false;

  constructor({ hostname, port }: URL, request: Buffer) {
    this.#request = request;
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    this.opened = once(this.#socket, "connect");
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => {
      this.broken = true;
      this.#answer(false);
    });
  }

  ask(answered: (ok: boolean) => void): void {
    this.#answered = answered;
    this.#socket.write(this.#request);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let body = chunk.length;
    if (this.#left === undefined) {
      const before = this.#head.length;
      this.#head += chunk.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return;
      body = chunk.length - (end + 4 - before);
      this.#ok = this.#head.startsWith("HTTP/1.1 200 ");
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(this.#head)?.[1] ?? Number.NaN);
      this.#head = "";
    }
    this.#left -= body;
    if (this.#left > 0) return;
    const ok = this.#ok && this.#left === 0;
    this.#left = undefined;
    this.#answer(ok);
  }

  #answer(ok: boolean): void {
    const answered = this.#answered;
    this.#answered = undefined;
    answered?.(ok);
  }
}
