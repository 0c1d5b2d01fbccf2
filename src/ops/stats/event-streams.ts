// Server-sent events (HTML standard, section 9.2): the whole document to every viewer, every two seconds.
import type { ServerResponse } from "node:http";

export interface EventStreamsOptions {
  /** The document as one line of JSON. May throw: the streams then only stay open. */
  readonly snapshot: () => string;
  /** Starts calling `tick` again and again, `interval` milliseconds apart, until the returned function is called. */
  readonly every?: (interval: number, tick: () => void) => () => void;
}

/** Milliseconds between two snapshots; well below the idle time-outs of proxies, so they are the heartbeat too. */
const interval = 2_000;
/** Milliseconds a browser waits before it comes back. */
const retry = 3_000;
const maxStreams = 50;
/** Bytes a reader may have left unread and still be sent the next snapshot. */
const maxUnread = 64 * 1024;

export class EventStreams {
  readonly #options: EventStreamsOptions;
  readonly #open = new Set<ServerResponse>();
  #stop: (() => void) | undefined;
  #id = 0;
  #ended = false;

  constructor(options: EventStreamsOptions) {
    this.#options = options;
  }

  /** Streams open now. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * Answers with a stream: a snapshot at once, then one after each interval. With 503 when there are 50 already, with
   * 204, which tells browsers not to come back, once `end` was called.
   */
  add(response: ServerResponse): void {
    const headers = { "cache-control": "no-store", "x-content-type-options": "nosniff" };
    if (this.#ended) {
      response.writeHead(204, headers).end();
      return;
    }
    if (this.#open.size >= maxStreams) {
      const soon = { "content-type": "text/plain; charset=utf-8", "retry-after": "10" };
      response.writeHead(503, { ...headers, ...soon }).end(`there are ${maxStreams} viewers already\n`);
      return;
    }
    response.writeHead(200, {
      ...headers,
      "content-type": "text/event-stream",
      "x-accel-buffering": "no",
    });
    this.#open.add(response);
    response.on("error", () => {});
    response.once("close", () => this.#left(response));
    response.write(`retry: ${retry}\n${this.#frame()}`);
    this.#stop ??= (this.#options.every ?? timer)(interval, () => this.#tick());
  }

  /** Ends every stream, after a last snapshot, and takes no more. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const frame = this.#open.size === 0 ? "" : this.#frame();
    for (const response of this.#open) response.end(frame);
  }

  /** One serialisation for all. A viewer that has not read the last ones misses this one. */
  #tick(): void {
    const frame = this.#frame();
    for (const response of this.#open) if (response.writableLength <= maxUnread) response.write(frame);
  }

  #frame(): string {
    try {
      const data = this.#options.snapshot();
      this.#id++;
      return `id: ${this.#id}\ndata: ${data}\n\n`;
    } catch {
      // A comment: the stream stays open until the document can be made again. /stats.json says what is wrong.
      return ":\n\n";
    }
  }

  #left(response: ServerResponse): void {
    this.#open.delete(response);
    if (this.#open.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }
}

function timer(milliseconds: number, tick: () => void): () => void {
  const running = setInterval(tick, milliseconds);
  return () => clearInterval(running);
}
