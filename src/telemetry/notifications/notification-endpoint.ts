// One receiver of notifications: its queue, and one delivery at a time. A receiver that is down or slow costs the memory of
// 10,000 events and nothing else.
import { Pool } from "undici";
import type { Pause } from "../../ports/clock.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { SecretSource } from "../../ports/secret.ts";
import type { Notification } from "./notification.ts";

/** Where notifications go, as configured. Times in milliseconds. */
export interface EndpointOptions {
  /** For metrics and log lines. */
  readonly name: string;
  /** http or https, without credentials; its query, like the headers, may be secret. */
  readonly url: URL;
  /** Sent with every envelope; read anew for each, as the file they come from may change. */
  readonly headers: readonly { readonly name: string; readonly value: SecretSource }[];
  /** For a whole delivery. */
  readonly timeout: number;
  /** So many failures in a row, and the next attempt waits. */
  readonly threshold: number;
  /** The first wait; each further one is twice as long, up to a minute, less a random part of a half. */
  readonly backoff: number;
  /** The version in the envelope's media type; the fields are the same. */
  readonly mediaType: "v1" | "v2";
  readonly ignore: { readonly actions: readonly string[]; readonly mediaTypes: readonly string[] };
  /** Whether HEAD counts as a pull. */
  readonly headRequests: boolean;
}

export interface EndpointContext {
  readonly notices: NoticeSink;
  readonly userAgent: string;
  /** Resolves after so many milliseconds, or rejects when the signal aborts. */
  readonly pause: Pause;
}

const longestQueue = 10_000;
/** Events in one envelope. A receiver that fails gets them one by one, in case it cannot take one of them. */
const largestEnvelope = 32;
const longestBackoff = 60_000;
/** Milliseconds of the longest wait while the program ends. */
const lastBackoff = 250;
/** Bytes read of an answer, so that its connection can be used again. */
const longestAnswer = 64 * 1024;

export class NotificationEndpoint {
  readonly #options: EndpointOptions;
  readonly #context: EndpointContext;
  readonly #queue = new NotificationQueue<string>(longestQueue);
  readonly #pool: Pool;
  readonly #closing = new AbortController();
  #waiting = new AbortController();
  #delivering: Promise<void> | undefined;
  #running = false;
  #failures = 0;
  #hurried = false;

  constructor(options: EndpointOptions, context: EndpointContext) {
    this.#options = options;
    this.#context = context;
    this.#pool = new Pool(options.url.origin, {
      connections: 1,
      pipelining: 1,
      allowH2: false,
      connect: { timeout: options.timeout },
    });
  }

  get name(): string {
    return this.#options.name;
  }

  get pending(): number {
    return this.#queue.length;
  }

  /** Whether the endpoint is to get it. */
  wants({ action, target, request }: Notification): boolean {
    const { ignore, headRequests } = this.#options;
    if (action === "pull" && request?.method === "HEAD" && !headRequests) return false;
    return !ignore.actions.includes(action) && !ignore.mediaTypes.includes(target.mediaType ?? "");
  }

  /** Queues an event, given as JSON. The oldest is dropped when 10,000 wait. */
  offer(json: string): void {
    if (!this.#queue.push(json)) this.#report("dropped", 1, "the queue is full");
    if (!this.#running) this.#delivering = this.#deliver();
  }

  /** Resolves when nothing waits any more; after a failure the wait is short. Never rejects. */
  async flush(): Promise<void> {
    this.#hurried = true;
    this.#waiting.abort();
    await this.#delivering;
  }

  /** Drops what still waits. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#waiting.abort();
    await this.#delivering;
    if (this.pending > 0) this.#report("dropped", this.pending, "the program has ended");
    await this.#pool.destroy();
  }

  async #deliver(): Promise<void> {
    this.#running = true;
    while (this.#queue.length > 0 && !this.#closing.signal.aborted) {
      const { items, mark } = this.#queue.oldest(this.#failures === 0 ? largestEnvelope : 1);
      const problem = await this.#send(`{"events":[${items.join(",")}]}`);
      if (problem === undefined) {
        this.#failures = 0;
        this.#report("delivered", this.#queue.takeOff(mark));
      } else if (!this.#closing.signal.aborted) {
        this.#failures++;
        this.#report("failed", items.length, problem);
        await this.#wait();
      }
    }
    this.#running = false;
  }

  /** Undefined when it was taken: any 2xx, and 3xx, which is not followed. Otherwise why not, without secrets. */
  async #send(envelope: string): Promise<string | undefined> {
    const { url, timeout, mediaType } = this.#options;
    const signal = AbortSignal.any([AbortSignal.timeout(timeout), this.#closing.signal]);
    try {
      const { statusCode, body } = await this.#pool.request({
        method: "POST",
        path: `${url.pathname}${url.search}`,
        headers: {
          ...(await this.#headers()),
          "content-type": `application/vnd.docker.distribution.events.${mediaType}+json`,
        },
        body: envelope,
        signal,
      });
      // Only the status counts: a broken body does no harm.
      await body.dump({ limit: longestAnswer, signal }).catch(() => {});
      return statusCode >= 200 && statusCode < 400 ? undefined : `answered ${statusCode}`;
    } catch (error) {
      const { name = "", code = name } = error as NodeJS.ErrnoException;
      return name === "TimeoutError" ? `took longer than ${timeout} ms` : `failed (${code})`;
    }
  }

  async #headers(): Promise<Record<string, string>> {
    const headers: Record<string, string> = { "user-agent": this.#context.userAgent };
    for (const { name, value } of this.#options.headers)
      headers[name.toLowerCase()] = (await value.read()).reveal();
    return headers;
  }

  async #wait(): Promise<void> {
    const { threshold, backoff } = this.#options;
    const doublings = this.#failures - threshold;
    if (doublings < 0 && !this.#hurried) return;
    const longest = Math.min(Math.max(backoff, longestBackoff), backoff * 2 ** Math.max(0, doublings));
    const jittered = longest * (0.5 + Math.random() / 2);
    this.#waiting = new AbortController();
    const signal = AbortSignal.any([this.#waiting.signal, this.#closing.signal]);
    await this.#context
      .pause(this.#hurried ? Math.min(jittered, lastBackoff) : jittered, signal)
      .catch(() => {});
  }

  #report(result: "delivered" | "failed" | "dropped", events: number, message?: string): void {
    if (events === 0) return;
    this.#context.notices({ kind: "notification", endpoint: this.name, result, events, message });
  }
}

/** What waits for an endpoint: a ring that drops its oldest item for a new one. */
export class NotificationQueue<Item> {
  readonly #items: (Item | undefined)[];
  /** How many items have ever been removed, and ever been added. */
  #first = 0;
  #end = 0;

  /** Holds `limit` items at most. */
  constructor(limit: number) {
    this.#items = new Array<Item | undefined>(limit);
  }

  get length(): number {
    return this.#end - this.#first;
  }

  /** False when the oldest item was dropped for it. */
  push(item: Item): boolean {
    const full = this.length === this.#items.length;
    if (full) this.#first++;
    this.#items[this.#end++ % this.#items.length] = item;
    return !full;
  }

  /** The oldest items, at most `most`, and the mark to remove them by. They stay. */
  oldest(most: number): { readonly items: readonly Item[]; readonly mark: number } {
    const mark = Math.min(this.#end, this.#first + most);
    const items: Item[] = [];
    for (let at = this.#first; at < mark; at++) items.push(this.#items[at % this.#items.length] as Item);
    return { items, mark };
  }

  /** Removes everything up to the mark and returns how many items of it were still here. */
  takeOff(mark: number): number {
    const count = Math.max(0, mark - this.#first);
    for (; this.#first < mark; this.#first++) this.#items[this.#first % this.#items.length] = undefined;
    return count;
  }
}
