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
  /**
   * Looks at the clock every millisecond instead of all the time: latencies may be that much too long, and other
   * clients have the core meanwhile.
   */
  readonly coarse?: boolean;
}

export interface PacedResult {
  readonly requests: number;
  /** Answers with another status or length than the first one, and connections that broke. */
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Milliseconds after the last request was due after which nothing more is waited for. */
const patience = 10_000;
const readSize = 16 * 1024;

/** Resolves when everything has been answered, or 10 s late: what is still open then counts with its wait so far. */
export async function pacedLoad(options: PacedLoadOptions): Promise<PacedResult> {
  const { base, path, accept, perSecond, seconds, connections = 32, coarse = false } = options;
  const request = Buffer.from(
    `GET ${path} HTTP/1.1\r\nHost: ${base.host}\r\nAccept: ${accept}\r\nConnection: keep-alive\r\n\r\n`,
  );
  const opened = Array.from({ length: connections }, () => new Connection(base, request));
  try {
    await Promise.all(opened.map((connection) => connection.opened));
    const pace = new Pace(opened, perSecond, Math.round(perSecond * seconds), coarse);
    await pace.over.promise;
    const latencies = pace.latencies.slice(0, pace.timed).sort();
    return {
      requests: pace.total,
      failed: pace.total - pace.timed,
      p50Ms: percentile(latencies, 50),
      p99Ms: percentile(latencies, 99),
    };
  } finally {
    for (const connection of opened) connection.close();
  }
}

/** Asks when something is due and a connection is free. Makes no garbage: its collection would be measured too. */
class Pace {
  readonly over = Promise.withResolvers<void>();
  readonly total: number;
  readonly latencies: Float64Array;
  /** Latencies there are. */
  timed = 0;
  readonly #coarse: boolean;
  readonly #interval: number;
  readonly #start = performance.now();
  readonly #idle: Connection[];
  #asked = 0;
  #failed = 0;

  constructor(connections: readonly Connection[], perSecond: number, total: number, coarse: boolean) {
    this.#coarse = coarse;
    this.#idle = [...connections];
    this.#interval = 1000 / perSecond;
    this.total = total;
    this.latencies = new Float64Array(total);
    for (const connection of connections) connection.onAnswer = this.#onAnswer;
    this.#turn();
  }

  // Not on a timer unless told so: those are a millisecond apart, and latencies are a tenth of that.
  readonly #turn = (): void => {
    const now = performance.now();
    for (; this.#asked < this.total && this.#start + this.#asked * this.#interval <= now; this.#asked++) {
      const connection = this.#idle.pop();
      if (connection === undefined) break;
      connection.ask(this.#start + this.#asked * this.#interval);
    }
    const late = now > this.#start + this.total * this.#interval + patience;
    if (late) this.#giveUp(now);
    if (this.timed + this.#failed === this.total) this.over.resolve();
    else if (this.#coarse) setTimeout(this.#turn, 1);
    else setImmediate(this.#turn);
  };

  /** What is open are the last ones: they are asked, and all but always answered, in order. */
  #giveUp(now: number): void {
    for (let number = this.timed + this.#failed; number < this.total; number++)
      this.latencies[this.timed++] = now - (this.#start + number * this.#interval);
  }

  readonly #onAnswer = (connection: Connection, ok: boolean): void => {
    if (ok) this.latencies[this.timed++] = performance.now() - connection.due;
    else this.#failed += 1;
    if (!connection.broken) this.#idle.push(connection);
  };
}

/** One kept-open connection with at most one request on it. Answers must have a Content-Length. */
class Connection {
  readonly opened: Promise<unknown>;
  broken = false;
  /** When its request was due, on the clock of `performance`. */
  due = 0;
  onAnswer: (connection: Connection, ok: boolean) => void = () => {};
  readonly #request: Buffer;
  readonly #socket: Socket;
  #asking = false;
  #head = "";
  /** Bytes of the body still to come; undefined while the head is not whole. */
  #left: number | undefined;
  #ok = false;

  constructor({ hostname, port }: URL, request: Buffer) {
    this.#request = request;
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(readSize),
        callback: (count, buffer) => this.#take((buffer as Buffer).subarray(0, count)),
      },
    });
    this.opened = once(this.#socket, "connect");
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => {
      this.broken = true;
      this.#answer(false);
    });
  }

  ask(due: number): void {
    this.due = due;
    this.#asking = true;
    this.#socket.write(this.#request);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** True: go on reading. */
  #take(chunk: Buffer): boolean {
    let body = chunk.length;
    if (this.#left === undefined) {
      const before = this.#head.length;
      this.#head += chunk.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      if (end < 0) return true;
      body = chunk.length - (end + 4 - before);
      this.#ok = this.#head.startsWith("HTTP/1.1 200 ");
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(this.#head)?.[1] ?? Number.NaN);
      this.#head = "";
    }
    this.#left -= body;
    if (this.#left > 0) return true;
    const ok = this.#ok && this.#left === 0;
    this.#left = undefined;
    this.#answer(ok);
    return true;
  }

  #answer(ok: boolean): void {
    if (!this.#asking) return;
    this.#asking = false;
    this.onAnswer(this, ok);
  }
}
