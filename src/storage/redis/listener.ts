// The second connection to Redis, which only listens: a connection that has subscribed takes few other commands. When
// it ends it is made again, with the passwords as they are then. Nothing else is sent on it, so pings find out when it
// is broken.
import { listeningClient, PasswordReader, retryDelay } from "./client.ts";
import type { RedisConnectionOptions } from "./connection.ts";
import { RedisKeys } from "./keys.ts";

/** Milliseconds between pings. */
const pingInterval = 2_000;

interface Subscriber {
  readonly receive: (text: string) => void;
  readonly missed: () => void;
}

export class RedisListener {
  readonly #options: RedisConnectionOptions;
  readonly #channel: string;
  readonly #passwords: PasswordReader;
  readonly #subscribers: Subscriber[] = [];
  readonly #closing = new AbortController();
  #listening = false;

  /** Begins to connect and does not wait for it. */
  constructor(options: RedisConnectionOptions) {
    this.#options = options;
    const { redis, notices, upstreams } = options;
    this.#channel = new RedisKeys(redis.prefix, redis.database, upstreams).announcements;
    this.#passwords = new PasswordReader(redis, notices);
    void this.#run();
  }

  /** Whether messages arrive now. */
  get listening(): boolean {
    return this.#listening;
  }

  /** `missed` is called whenever the connection begins to listen, and at once when it already does. */
  listen(receive: (text: string) => void, missed: () => void): void {
    this.#subscribers.push({ receive, missed });
    if (this.#listening) missed();
  }

  /** Idempotent. */
  close(): void {
    this.#closing.abort();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    for (let attempt = 0; !signal.aborted; attempt++) {
      failures = (await this.#listenOnce(attempt)) ? 1 : failures + 1;
      await this.#options.pause(retryDelay(failures), signal).catch(() => {});
    }
  }

  /** Resolves when the connection has ended; false when it never listened. */
  async #listenOnce(attempt: number): Promise<boolean> {
    const { signal } = this.#closing;
    const { redis, nodeName } = this.#options;
    const passwords = await this.#passwords.read();
    if (signal.aborted) return false;
    const client = listeningClient(redis, passwords, nodeName, attempt);
    const ended = new Promise<void>((resolve) => client.once("end", resolve));
    const end = (): void => client.disconnect();
    // The connection for commands reports what is wrong with Redis.
    client.on("error", () => {});
    client.on("message", (_channel, text) => {
      for (const { receive } of this.#subscribers) receive(text);
    });
    signal.addEventListener("abort", end, { once: true });
    let pings: NodeJS.Timeout | undefined;
    try {
      await client.connect();
      await client.subscribe(this.#channel);
      this.#listening = true;
      for (const { missed } of this.#subscribers) missed();
      pings = setInterval(() => void client.ping().catch(end), pingInterval).unref();
      await ended;
      return true;
    } catch {
      end();
      await ended;
      return false;
    } finally {
      this.#listening = false;
      clearInterval(pings);
      signal.removeEventListener("abort", end);
    }
  }
}
